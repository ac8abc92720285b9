"""pam_module: a module is in a service's PAM stack, with its control, and cannot be passed by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from openwatch.checks import pam_files
from openwatch.checks.answers import error, failed, passed
from openwatch.checks.parsers import pam
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import compares

_BOUND = re.compile(r"([A-Za-z_]+)(<=|>=|<|>)(-?[0-9]{1,18})")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which module of which stack; `control` may name several by `|`, `args` bounds as `deny<=3`.

    `before` and `after` order it among other modules; one of `after` may also end the stack
    before it. No line of the module may have one of `not_args`.
    """

    service: str
    type: Literal["auth", "account", "password", "session"]
    module: str
    state: Literal["present", "absent"] = "present"
    control: str | None = None
    args: tuple[str, ...] = ()
    not_args: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", self.service):
            raise ValueError(f"`service` must be the name of a file in pam.d: {self.service!r}")
        for name in (self.module, *self.before, *self.after):
            if not re.fullmatch(r"[A-Za-z0-9_.+/-]+", name):
                raise ValueError(f"a module is one word such as pam_unix.so: {name!r}")
        self.controls()
        if self.state == "absent" and (self.not_args or self.before or self.after):
            raise ValueError("`absent` goes with `control` and `args` only")
        if any(re.search(r"\s", a) or not a for a in (*self.args, *self.not_args)):
            raise ValueError("an argument is one word")

    def controls(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """Return the controls that are allowed, by what they do. Raise ValueError."""
        words = self.control.split("|") if self.control is not None else []
        return tuple(_same(pam.controls(word.strip())) for word in words)


def _same(actions: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(actions.items()))


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for all services: stacks include one another."""
    return pam_files.ALL


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters,
    facts: Facts,  # noqa: ARG001
    observations: Observations,
) -> Verdict:
    """Put the stack together, then look for a line that holds and that nothing passes by."""
    lines = pam_files.read(observations)
    if isinstance(lines, Verdict):
        return lines
    expected = _expected(params)
    if params.service not in lines:
        if params.state == "absent":
            return passed(expected, "no such service")
        detail = f"PAM knows no service {params.service}"
        return failed(Reason.MISSING, expected, "no such service", detail)
    try:
        stack = pam.stack(lines, params.service, params.type)
    except ValueError as problem:
        return error(Reason.UNPARSABLE, str(problem), expected)
    if stack.lost:
        return error(Reason.UNPARSABLE, f"{stack.lost}, which is not there", expected)
    if params.state == "absent":
        return _absent(params, stack, expected)
    return _present(params, stack, expected)


def _absent(params: Parameters, stack: pam.Stack, expected: str) -> Verdict:
    for entry in stack.entries:
        if entry.module == pam.module(params.module) and _fits(params, entry):
            detail = f"{entry.where} has {entry.module}"
            return failed(Reason.PRESENT, expected, _shown(entry), detail)
    return passed(expected, "absent")


def _present(params: Parameters, stack: pam.Stack, expected: str) -> Verdict:
    entries = stack.entries
    name = pam.module(params.module)
    mine = [i for i, entry in enumerate(entries) if entry.module == name]
    if not mine:
        detail = f"{name} is not in the {params.type} stack of {params.service}"
        return failed(Reason.MISSING, expected, "not there", detail)
    for index in mine:
        for argument in params.not_args:
            if _has(entries[index], argument):
                detail = f"{entries[index].where} has {argument}"
                return failed(Reason.PRESENT, expected, _shown(entries[index]), detail)
    fitting = [index for index in mine if _fits(params, entries[index])]
    if not fitting:
        entry = entries[mine[0]]
        detail = f"{entry.where} is not as wanted"
        return failed(Reason.DIFFERS, expected, _shown(entry), detail)
    told = ""
    for index in fitting:
        wrong = _misplaced(params, entries, index)
        if not wrong:
            return passed(expected, _shown(entries[index]), entries[index].where)
        told = told or f"{entries[index].where}: {wrong}"
    actual = f"{_shown(entries[fitting[0]])}, {_misplaced(params, entries, fitting[0])}"
    return failed(Reason.DIFFERS, expected, actual, told)


def _fits(params: Parameters, entry: pam.Entry) -> bool:
    allowed = params.controls()
    return (not allowed or _same(entry.actions) in allowed) and all(
        _has(entry, argument) for argument in params.args
    )


def _has(entry: pam.Entry, argument: str) -> bool:
    bound = _BOUND.fullmatch(argument)
    if bound:
        name, comparator, limit = bound.groups()
        return compares(entry.argument(name) or "", comparator, limit)
    name, equals, value = argument.partition("=")
    if equals:
        return entry.argument(name) == value
    return argument in entry.arguments


def _misplaced(params: Parameters, entries: tuple[pam.Entry, ...], index: int) -> str:
    """Say what is wrong with an entry's place, "" where nothing is."""
    names = [entry.module for entry in entries]
    for other in map(pam.module, params.before):
        if other in names[:index]:
            return f"behind {other}"
    for other in map(pam.module, params.after):
        if other in names and other not in names[:index]:
            return f"before {other}"
    after = frozenset(map(pam.module, params.after))
    obstacle = pam.obstacle(entries, index, after)
    return f"passed by where {obstacle.module} decides" if obstacle else ""


def _shown(entry: pam.Entry) -> str:
    actions = " ".join(f"{result}={action}" for result, action in sorted(entry.actions.items()))
    return " ".join((entry.module, f"[{actions}]", *entry.arguments))


def _expected(params: Parameters) -> str:
    if params.state == "absent":
        return " ".join(("no", params.control or "", params.module, *params.args)).replace(
            "  ", " "
        )
    parts = [" ".join(x for x in (params.control or "", params.module, *params.args) if x)]
    parts += [f"without {', '.join(params.not_args)}"] if params.not_args else []
    parts += [f"before {', '.join(params.before)}"] if params.before else []
    parts += [f"after {', '.join(params.after)}"] if params.after else []
    return ", ".join(parts)


METHOD = Method("pam_module", Parameters, probes, judge)
