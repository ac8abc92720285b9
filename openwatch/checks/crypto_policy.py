"""crypto_policy: the system-wide policy for cryptography that is in force, and the configured one."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, error, failed, passed, shortened
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict

_CURRENT = files.reading("/etc/crypto-policies/state/current")
_CONFIG = files.reading("/etc/crypto-policies/config")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which policy it must be, or must not be, and the modules it must have, in any order.

    More modules than these may be there unless `exact`.
    """

    expected: str | None = None
    not_expected: str | None = None
    modules: tuple[str, ...] = ()
    exact: bool = False

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if self.expected is not None and self.not_expected is not None:
            raise ValueError("`expected` and `not_expected` exclude each other")
        if self.expected is None and self.not_expected is None and not self.modules:
            raise ValueError("give `expected`, `not_expected` or `modules`")
        for name in (self.expected or "X", self.not_expected or "X", *self.modules):
            if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
                raise ValueError(f"a policy or module is one word such as FIPS: {name!r}")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the policy that was applied last, and for the one that will be the next time."""
    return (_CURRENT, _CONFIG)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Judge both: a configured policy that is not applied protects nobody, and the reverse ends."""
    expected = _expected(params)
    found = []
    for probe, told in ((_CURRENT, "in force"), (_CONFIG, "configured")):
        policy = _policy(probe, observations)
        if isinstance(policy, Verdict):
            return policy
        if policy is None:
            detail = f"no policy is {told}"
            return failed(Reason.MISSING, expected, f"none {told}", detail)
        wrong = _wrong(params, policy)
        if wrong:
            actual = f"{':'.join(policy)} {told}"
            return failed(Reason.DIFFERS, expected, actual, f"{actual}: {wrong}")
        found.append(":".join(policy))
    return passed(expected, found[0])


def _policy(probe: Probe, observations: Observations) -> tuple[str, ...] | Verdict | None:
    """Return the policy and its modules, None where there is none."""
    observation = answer(observations, probe)
    state = files.state_of(observation, probe)
    if isinstance(state, Verdict):
        return state
    if state is files.State.GONE:
        return None
    if observation.truncated:
        return cut("the policy")
    rows = [row.partition("#")[0].strip() for row in observation.text.split("\n")]
    rows = [row for row in rows if row]
    if not rows:
        return None
    if len(rows) > 1 or re.search(r"\s", rows[0]):
        return error(Reason.UNPARSABLE, f"{shortened(rows[0])!r} is no policy")
    return tuple(rows[0].upper().split(":"))


def _wrong(params: Parameters, policy: tuple[str, ...]) -> str:
    name, *modules = policy
    wanted = {module.upper() for module in params.modules}
    if params.expected is not None and name != params.expected.upper():
        return f"is not {params.expected}"
    if params.not_expected is not None and name == params.not_expected.upper():
        return f"must not be {params.not_expected}"
    missing = sorted(wanted - set(modules))
    if missing:
        return f"lacks {', '.join(missing)}"
    surplus = sorted(set(modules) - wanted) if params.exact else []
    return f"has {', '.join(surplus)} as well" if surplus else ""


def _expected(params: Parameters) -> str:
    name = params.expected or (f"not {params.not_expected}" if params.not_expected else "any")
    with_modules = f" with {', '.join(params.modules)}" if params.modules else ""
    return name + with_modules + (" and nothing else" if params.exact else "")


METHOD = Method("crypto_policy", Parameters, probes, judge)
