"""resource_limit: what pam_limits allows everybody at most."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, failed, passed, shortened, whole_lines
from openwatch.checks.config_lines import Line, in_file, in_files
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import Comparator, endures, number, require_number, wanted

_MAIN = files.reading("/etc/security/limits.conf")
_PARTS = files.reading_all("/etc/security/limits.d")
# Of these there is one limit, whatever the type says.
_ONE_TYPE = {"maxlogins", "maxsyslogins", "nonewprivs", "priority"}
_MAY_BE_NEGATIVE = {"nice", "priority"}
_NO_LIMIT = "unlimited"


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which item, and what every hard limit of it must be.

    There must be one for everybody (`*`), and none for somebody that is not as wanted; nor may
    anybody be exempt from all limits. `unlimited` is more than any number.
    """

    item: str
    expected: str
    comparator: Comparator = "=="

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[a-z]+", self.item):
            raise ValueError(f"`item` must be one of limits.conf, such as core: {self.item!r}")
        if not self.expected:
            raise ValueError("`expected` is empty")
        require_number(self.comparator, self.expected)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the file and its parts: other rules ask for the same ones."""
    return (_MAIN, _PARTS)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Fail for the first limit that is not as wanted, whatever else could not be read."""
    lines, doubt = _lines(observations)
    expected = wanted(params.comparator, params.expected)
    everybody: Line | None = None
    value = ""
    for line in lines:
        words = line.text.partition("#")[0].split()
        told = _value(params.item, words)
        if told is None:
            continue
        if not endures(told, params.comparator, params.expected, (_NO_LIMIT,)):
            actual = shortened(f"{words[0]} {told}", 500)
            detail = f"{line.path}:{line.number} allows {actual}"
            return failed(Reason.DIFFERS, expected, actual, detail)
        if words[0] == "*" and len(words) > 2:
            everybody, value = line, told
    if doubt is not None:
        return doubt
    if everybody is None:
        detail = f"no hard limit of {params.item} is set for everybody"
        return failed(Reason.MISSING, expected, "not set", detail)
    return passed(expected, f"* {value}", f"{everybody.path}:{everybody.number}")


def _value(item: str, words: Sequence[str]) -> str | None:
    """Return what a line sets the limit to, in pam_limits' reading; None where it sets nothing."""
    if len(words) == 2 and words[1].startswith("-"):
        # It looks for a user, a group or a range there; root has no limits of `*` anyway.
        is_somebody = words[0] not in {"*", "root"} and not words[0].startswith("%")
        return _NO_LIMIT if is_somebody else None
    if len(words) < 4 or words[2].lower() != item:
        return None
    if words[1].lower() not in {"hard", "-"} and item not in _ONE_TYPE:
        return None
    value = words[3].lower()
    amount = number(value)
    if value in {"unlimited", "infinity", "-"}:
        return _NO_LIMIT
    return (
        _NO_LIMIT
        if amount is not None and amount < 0 and item not in _MAY_BE_NEGATIVE
        else value
    )


def _lines(observations: Observations) -> tuple[list[Line], Verdict | None]:
    """Return the lines that could be read, and why there may be more."""
    found: list[Line] = []
    doubt: Verdict | None = None
    main, parts = answer(observations, _MAIN), answer(observations, _PARTS)
    state = files.state_of(main, _MAIN)
    if isinstance(state, Verdict):
        doubt = state
    elif state is files.State.THERE:
        found += in_file("/etc/security/limits.conf", whole_lines(main))
    state = files.state_of_all(parts, _PARTS)
    if isinstance(state, Verdict):
        doubt = doubt or state
    elif state is files.State.THERE:
        found += in_files(whole_lines(parts))
    if main.truncated or parts.truncated:
        doubt = doubt or cut("every limit")
    return found, doubt


METHOD = Method("resource_limit", Parameters, probes, judge)
