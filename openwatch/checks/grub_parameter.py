"""grub_parameter: the kernel was started with a parameter, and will be the next time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    parsed,
    passed,
    shortened,
    unanswered,
)
from openwatch.checks.config_lines import in_files
from openwatch.checks.parsers import boot
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import Comparator, compares, require_number, wanted

_NOW = files.reading("/proc/cmdline")
_ENTRIES = files.reading_all("/boot/loader/entries")
# grub reads it from its own directory; on UEFI that may be the firmware's partition. It also
# counts boots there.
_ENVIRONMENT = Probe(
    "for f in /boot/grub2/grubenv /boot/grub/grubenv /boot/efi/EFI/*/grubenv; do "
    '[ ! -e "$f" ] || grep -ahE \'^(kernelopts|tuned_params)=\' -- "$f"; done'
)
_DEFAULTS = Probe("grep -aH '' -- /etc/default/grub /etc/default/grub.d/*.cfg", limit=1 << 18)
_GENERATED = Probe(
    "grep -aHE '^[[:space:]]*linux(16|efi)?[[:space:]]' -- /boot/grub/grub.cfg"
    " /boot/grub2/grub.cfg",
    limit=1 << 18,
)
# Slow, so only where no entry's file can be read.
_GRUBBY = Probe(
    "if ls /boot/loader/entries/*.conf >/dev/null 2>&1; then :; else grubby --info=ALL; fi",
    seconds=20.0,
)
_Lines = Mapping[str, str]  # command lines by where they stand


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which parameter, and its value; `1` and an empty text are met by the bare parameter too.

    With `persist: false` only the running kernel is asked about.
    """

    key: str
    expected: str
    comparator: Comparator = "=="
    persist: bool = True

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.key):
            raise ValueError(f"`key` must be one parameter such as audit: {self.key!r}")
        if re.search(r"[\s\"]", self.expected):
            raise ValueError("`expected` must not hold blanks or quotes")
        require_number(self.comparator, self.expected)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the running kernel's line and for every place that a boot loader reads."""
    if not params.persist:
        return (_NOW,)
    return (_NOW, _ENTRIES, _ENVIRONMENT, _DEFAULTS, _GENERATED, _GRUBBY)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Judge the running kernel, then every entry; a definite fail of either decides."""
    expected = _named(params) + (", now and at boot" if params.persist else "")
    observation = answer(observations, _NOW)
    state = files.state_of(observation, _NOW)
    if isinstance(state, Verdict):
        now: Verdict | None = state
    elif state is files.State.GONE or observation.truncated or not observation.text.strip():
        now = error(Reason.UNREADABLE, "/proc/cmdline cannot be read")
    elif _holds(params, observation.text):
        now = None
    else:
        actual = _found(params, observation.text)
        detail = f"of the running kernel: {actual}"
        reason = Reason.MISSING if actual.endswith("not set") else Reason.DIFFERS
        return failed(reason, expected, actual, detail)
    if not params.persist:
        return now or passed(expected, _found(params, observation.text))
    later = _at_boot(params, expected, observations)
    if now is not None and (later is None or later.status == "error"):
        return now
    return later or passed(expected, _found(params, observation.text) + ", now and at boot")


def _at_boot(params: Parameters, expected: str, observations: Observations) -> Verdict | None:
    """Return the verdict on the entries, None where all have the parameter."""
    lines = _lines(observations)
    if isinstance(lines, Verdict):
        return lines
    for where, line in lines.items():
        if not _holds(params, line):
            actual = "at boot " + _found(params, line)
            reason = Reason.MISSING if actual.endswith("not set") else Reason.DIFFERS
            return failed(
                reason, expected, actual, f"{where}: {actual.removeprefix('at boot ')}"
            )
    return None


def _lines(observations: Observations) -> _Lines | Verdict:
    """Return the command lines of the next boot, from the places that this host's loader reads.

    A grub.cfg that starts kernels itself reads no entries, unless the defaults say so.
    """
    defaults = _optional(_DEFAULTS, _parse_defaults, observations)
    generated = _optional(_GENERATED, _parse_generated, observations)
    says = None if isinstance(defaults, Verdict) else defaults.get("GRUB_ENABLE_BLSCFG")
    uses_entries = says.lower() == "true" if says else not generated
    if uses_entries or isinstance(generated, Verdict):
        found = _of_entries(observations)
        if found is None:
            found = _of_grubby(observations)
        if found is not None:
            return found if uses_entries else generated
    if isinstance(defaults, Verdict):
        return defaults
    if isinstance(generated, Verdict):
        return generated
    if not defaults and not generated:
        detail = (
            "no boot loader entry and no /etc/default/grub: how this host boots is not known"
        )
        return error(Reason.UNREADABLE, detail)
    # The line that the next grub.cfg will get, and those of the one that is there.
    names = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT")
    return {"/etc/default/grub": " ".join(defaults.get(n, "") for n in names)} | generated


def _of_entries(observations: Observations) -> _Lines | Verdict | None:
    observation = answer(observations, _ENTRIES)
    state = files.state_of_all(observation, _ENTRIES)
    if isinstance(state, Verdict):
        return state
    if state is files.State.GONE:
        return None
    if observation.truncated:
        return cut("every entry of the boot loader")
    found = parsed(observations, _ENTRIES, _parse_entries)
    if not any("$" in options for options in found.values()):
        return found
    return _with_environment(found, observations)


def _with_environment(found: _Lines, observations: Observations) -> _Lines | Verdict:
    observation = answer(observations, _ENVIRONMENT)
    broken = unanswered(observation, _ENVIRONMENT)
    if broken is not None:
        return broken
    variables = boot.environment(observation.text)
    whole = {}
    for where, options in found.items():
        whole[where], unknown = boot.expanded(options, variables)
        # tuned sets its variable only where a profile has something to add.
        if set(unknown) - {"tuned_params"}:
            detail = f"{where} uses ${unknown[0]}, which grubenv does not hold"
            return error(Reason.UNREADABLE, detail)
    return whole


def _of_grubby(observations: Observations) -> _Lines | None:
    """Return what grubby knows, None where it is not there or does not manage this host."""
    observation = answer(observations, _GRUBBY)
    if unanswered(observation, _GRUBBY) is not None or observation.exit != 0:
        return None
    return parsed(observations, _GRUBBY, _parse_grubby) or None


def _optional(
    probe: Probe, parse: Callable[[bytes], dict[str, str]], observations: Observations
) -> dict[str, str] | Verdict:
    """Return what files say that may or may not be there; a Verdict is the error."""
    observation = answer(observations, probe)
    state = files.state_of_all(observation, probe)
    if isinstance(state, Verdict):
        # Of several names one that is not there is what grep calls an error, and no loss.
        lost = [x for x in observation.stderr.split(b"\n") if x and b"No such file" not in x]
        if unanswered(observation, probe) or lost or observation.exit not in {0, 1, 2}:
            return state
    if observation.truncated:
        return cut(f"the end of {probe.script.rpartition(' ')[2]}")
    try:
        return parsed(observations, probe, parse)
    except ValueError as problem:
        return error(Reason.UNPARSABLE, str(problem))


def _holds(params: Parameters, line: str) -> bool:
    found = boot.value(line, params.key)
    if found is None:
        return params.comparator == "!="
    if (
        params.comparator == "=="
        and params.expected in {"1", ""}
        and boot.is_bare(line, params.key)
    ):
        return True
    return compares(found, params.comparator, params.expected)


def _named(params: Parameters) -> str:
    if params.comparator == "==":
        return f"{params.key}={params.expected}" if params.expected else params.key
    return f"{params.key} {wanted(params.comparator, params.expected)}"


def _found(params: Parameters, line: str) -> str:
    value = boot.value(line, params.key)
    if value is None:
        return f"{params.key} not set"
    bare = boot.is_bare(line, params.key)
    return params.key if bare else f"{params.key}={shortened(value)}"


def _parse_entries(stdout: bytes) -> dict[str, str]:
    return boot.entries(in_files(stdout))


def _parse_grubby(stdout: bytes) -> dict[str, str]:
    return boot.grubby(stdout.decode("utf-8", "replace"))


def _parse_defaults(stdout: bytes) -> dict[str, str]:
    return boot.assignments(in_files(stdout))


def _parse_generated(stdout: bytes) -> dict[str, str]:
    return boot.kernels(in_files(stdout))


METHOD = Method("grub_parameter", Parameters, probes, judge)
