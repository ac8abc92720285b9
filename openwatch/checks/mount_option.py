"""mount_option: a file system is mounted with certain options."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks.answers import (
    answer,
    cut,
    failed,
    hindered,
    parsed,
    passed,
    unanswered,
    unexpected,
)
from openwatch.checks.types import (
    Facts,
    Method,
    Normaliser,
    Observations,
    Probe,
    Reason,
    Verdict,
)
from openwatch.checks.values import require_path

_MOUNTS = Probe(
    "findmnt -P -o TARGET,FSTYPE,OPTIONS", limit=1 << 20, normaliser=Normaliser.MOUNTS
)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where, and which options; one with a value is compared with it, one without by name."""

    mount_point: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        require_path(self.mount_point, "mount_point")
        if not self.options or any(not o.strip() or "," in o for o in self.options):
            raise ValueError("`options` must list at least one option, one an element")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for all mounts once."""
    return (_MOUNTS,)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Look at the last mount on the point: it hides the ones before."""
    observation = answer(observations, _MOUNTS)
    broken = unanswered(observation, _MOUNTS)
    if broken is not None:
        return broken
    mounts = parsed(observations, _MOUNTS, _parse)
    if observation.exit != 0 or not mounts:
        return hindered(observation) or unexpected(observation)
    if observation.truncated:
        # A later line could hide the one that was seen.
        return cut(f"the last mount on {params.mount_point}")
    expected = ",".join(params.options)
    point = params.mount_point.rstrip("/") or "/"
    options = mounts.get(point)
    if options is None:
        return failed(Reason.MISSING, expected, "not mounted", f"{point} is not a mount point")
    missing = [wanted for wanted in params.options if not _holds(wanted, options)]
    actual = ",".join(_named(options, params.options))
    if missing:
        detail = f"{point} is mounted without {', '.join(missing)}"
        return failed(Reason.DIFFERS, expected, actual, detail)
    return passed(expected, actual)


def _holds(wanted: str, options: list[str]) -> bool:
    if "=" in wanted:
        return wanted in options
    return any(option.partition("=")[0] == wanted for option in options)


def _named(options: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the options that the rule asks about: sizes of others change by themselves."""
    names = {word.partition("=")[0] for word in wanted}
    return [option for option in options if option.partition("=")[0] in names]


def _parse(stdout: bytes) -> dict[str, list[str]]:
    mounts = {}
    for line in stdout.decode("utf-8", "replace").split("\n"):
        fields = dict(re.findall(r'([A-Z]+)="([^"]*)"', line))
        if {"TARGET", "OPTIONS"} <= fields.keys():
            mounts[_plain(fields["TARGET"])] = _split(_plain(fields["OPTIONS"]))
    return mounts


def _plain(text: str) -> str:
    r"""Undo findmnt's \xNN."""
    if "\\" not in text:
        return text
    raw = re.sub(
        rb"\\x([0-9a-fA-F]{2})", lambda m: bytes([int(m.group(1), 16)]), text.encode("utf-8")
    )
    return raw.decode("utf-8", "replace")


def _split(options: str) -> list[str]:
    """Split at commas that are not inside double quotes, as in a SELinux context."""
    return re.findall(r'(?:"[^"]*"|[^,"])+', options)


METHOD = Method("mount_option", Parameters, probes, judge)
