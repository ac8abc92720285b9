"""sudoers_default: a Defaults setting of sudo, for everybody and for each narrower scope."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from openwatch.checks import sudo_files
from openwatch.checks.answers import failed, passed, shortened, skipped
from openwatch.checks.parsers import sudoers
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import Comparator, compares, number, require_number, wanted


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which setting, and its value, or `on` or `off`; `optional` where not set meets it too.

    A host without sudoers is judged as one without a setting, or skipped with `missing: skip`.
    """

    name: str
    expected: str = "on"
    comparator: Comparator = "=="
    optional: bool = False
    missing: Literal["judge", "skip"] = "judge"

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[a-z_]+", self.name):
            raise ValueError(f"`name` must be a setting such as use_pty: {self.name!r}")
        if not self.expected:
            raise ValueError("`expected` is empty")
        require_number(self.comparator, self.expected)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for sudoers with everything that it includes."""
    return (sudo_files.WRITTEN,)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters,
    facts: Facts,  # noqa: ARG001
    observations: Observations,
) -> Verdict:
    """Judge the last setting for everybody, then every one for somebody, something, somewhere."""
    found = sudo_files.read(observations)
    if isinstance(found, Verdict):
        return found
    expected = wanted(params.comparator, params.expected)
    if found is None:
        return _no_file(params, expected)
    mine = [default for default in found.defaults if default.name == params.name]
    general = [default for default in mine if not default.scope]
    value = _value(general)
    if value is not None and not _holds(params, value):
        detail = f"{general[-1].where} sets {params.name} to {shortened(value)!r}"
        return sudo_files.doubt(found, observations) or failed(
            Reason.DIFFERS, expected, shortened(value, 500), detail
        )
    for one in mine:
        if one.scope and not _holds(params, one.value):
            actual = f"{shortened(one.value, 400)} (Defaults{shortened(one.scope, 90)})"
            detail = f"{one.where} sets {params.name} to {shortened(one.value)!r} for some"
            return failed(Reason.DIFFERS, expected, actual, detail)
    unsure = sudo_files.doubt(found, observations)
    if unsure is not None:
        return unsure
    if value is None and not params.optional:
        return failed(Reason.MISSING, expected, "not set", f"{params.name} is not set")
    if value is None:
        return passed(expected, "not set")
    return passed(expected, shortened(value, 500), general[-1].where)


def _no_file(params: Parameters, expected: str) -> Verdict:
    detail = f"{sudoers.MAIN} does not exist"
    if params.missing == "skip":
        return skipped(Reason.NOT_ASSESSABLE, detail)
    if params.optional:
        return passed(expected, "no sudoers")
    return failed(Reason.MISSING, expected, "no file", detail)


def _value(settings: list[sudoers.Default]) -> str | None:
    """Return what settings leave behind; a list grows and shrinks."""
    value: str | None = None
    for one in settings:
        words = (value or "").split() if value not in {"on", "off"} else []
        if one.sign == "+=":
            value = " ".join([*words, *(w for w in one.value.split() if w not in words)])
        elif one.sign == "-=":
            value = " ".join(word for word in words if word not in one.value.split())
        else:
            value = one.value
    return value


def _holds(params: Parameters, value: str) -> bool:
    if params.comparator in {"<", "<="} and _is_endless(params.name, value):
        return False
    if params.expected in {"on", "off"}:
        is_on = value != "off"
        return is_on == ((params.expected == "on") == (params.comparator == "=="))
    return compares(value, params.comparator, params.expected)


def _is_endless(name: str, value: str) -> bool:
    """Tell whether a number means `for ever` in sudoers(5), however small it is."""
    size = number(value)
    if value == "off":
        return True
    if name == "timestamp_timeout":
        return size is not None and size < 0
    return name == "passwd_timeout" and size == 0


METHOD = Method("sudoers_default", Parameters, probes, judge)
