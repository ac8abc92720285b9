"""From answers to verdicts: pure, so that a scan of last month can be judged again."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence

import msgspec

from openwatch.checks.answers import Answers, shortened
from openwatch.checks.types import Facts, Observations, Reason, Status, Verdict
from openwatch.scans.plan import Leaf, Plan, Step

# What decides an AND: a definite fail before doubt, doubt before a skip.
_RANK = (Status.FAIL, Status.ERROR, Status.SKIPPED, Status.PASS)

# The errors that a failed dependency explains: the thing to ask is not there or does not work.
# A lost connection, a refused access or a time limit says nothing about the host's state.
_EXPLAINED = frozenset(
    {
        *(Reason.TOOL_MISSING, Reason.NOT_EXECUTABLE),
        *(Reason.UNEXPECTED_EXIT, Reason.UNPARSABLE),
        Reason.NOT_ASSESSABLE,
    }
)

# The errors of one who may not look. 126 is also what a check says that cannot tell.
_RIGHTS = frozenset({Reason.DENIED, Reason.UNREADABLE, Reason.NOT_EXECUTABLE})


class CheckRuling(msgspec.Struct, frozen=True):
    """What one check of a rule found, and the answers that it rests on."""

    method: str
    verdict: Verdict
    probes: tuple[str, ...]


class Ruling(msgspec.Struct, frozen=True):
    """The verdict of a rule and of each of its checks, and of its variants by their names."""

    verdict: Verdict
    checks: tuple[CheckRuling, ...] = ()
    variants: Mapping[str, Ruling] = {}


def judge(plan: Plan, facts: Facts, observations: Observations) -> Mapping[str, Ruling]:
    """Return a ruling for every rule of the plan, by its id, dependencies first."""
    answers = Answers(observations)
    rulings: dict[str, Ruling] = {}
    elsewhere = {name: Ruling(verdict) for name, verdict in plan.decided.items()}
    before = ChainMap(rulings, elsewhere)
    for step in plan.steps:
        own = _in_context(step, facts, answers, before)
        variants = {
            name: _in_context(other, facts, answers, before)
            for name, other in step.variants.items()
        }
        if variants:
            own = msgspec.structs.replace(own, variants=variants)
        rulings[step.rule.id] = own
    return rulings


def beyond_rights(rulings: Mapping[str, Ruling]) -> str:
    """Return the note of a scan that was not asked as root: which rules it could not judge."""
    rules = sorted(
        rule
        for rule, ruling in rulings.items()
        if any(
            one.verdict.status is Status.ERROR and one.verdict.reason in _RIGHTS
            for one in (ruling, *ruling.variants.values())
        )
    )
    if not rules:
        return "not asked as root; no rule met anything that this user may not see"
    what = "rule" if len(rules) == 1 else "rules"
    return f"not asked as root; {len(rules)} {what} could not be judged: {', '.join(rules)}"


def _in_context(
    step: Step, facts: Facts, answers: Answers, before: Mapping[str, Ruling]
) -> Ruling:
    own = _ruling(step, facts, answers)
    verdict = _with_dependencies(step, own.verdict, before)
    return own if verdict is own.verdict else Ruling(verdict, own.checks)


def _ruling(step: Step, facts: Facts, answers: Answers) -> Ruling:
    if step.verdict is not None:
        return Ruling(step.verdict)
    checks = tuple(
        CheckRuling(leaf.method.name, _checked(leaf, facts, answers), leaf.probes)
        for leaf in step.leaves
    )
    return Ruling(together([check.verdict for check in checks]), checks)


def _checked(leaf: Leaf, facts: Facts, answers: Answers) -> Verdict:
    """Judge one check; an answer in a form that nobody foresaw costs this verdict only."""
    try:
        return leaf.method.judge(leaf.parameters, facts, answers)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        detail = f"the answer cannot be read: {type(error).__name__}: {shortened(str(error))}"
        return Verdict(Status.ERROR, Reason.UNPARSABLE, detail)


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict of an AND: that of the checks which decide it, told in one."""
    if len(verdicts) == 1:
        return verdicts[0]
    status = next(one for one in _RANK if any(v.status is one for v in verdicts))
    deciding = [verdict for verdict in verdicts if verdict.status is status]
    return Verdict(
        status,
        deciding[0].reason,
        "; ".join(verdict.detail for verdict in deciding if verdict.detail),
        "; ".join(verdict.expected for verdict in deciding if verdict.expected),
        "; ".join(verdict.actual for verdict in deciding if verdict.actual),
    )


def _with_dependencies(step: Step, own: Verdict, before: Mapping[str, Ruling]) -> Verdict:
    """Return the verdict in the light of what the rule depends on, as far as that was judged.

    A skipped dependency skips its dependents. A failed one never takes them out of the score:
    they are judged by their own answers, and fail where these cannot be had because of it.
    """
    if step.verdict is not None and own.status is Status.SKIPPED:
        return own
    statuses = {
        name: before[name].verdict.status for name in step.rule.depends_on if name in before
    }
    for name, status in statuses.items():
        if status is Status.SKIPPED:
            detail = f"depends on {name}, which was skipped"
            return Verdict(Status.SKIPPED, Reason.DEPENDENCY_SKIPPED, detail)
    if step.verdict is not None or own.reason not in _EXPLAINED:
        return own
    for name, status in statuses.items():
        if status is Status.FAIL:
            detail = f"cannot be assessed while {name} fails: {own.detail}"
            return Verdict(Status.FAIL, Reason.DEPENDENCY, detail, own.expected, name)
    return own
