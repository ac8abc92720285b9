"""mount_option: a file system is mounted with certain options, and fstab mounts it so again."""

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


_FSTAB = Probe("findmnt --fstab -P -o TARGET,FSTYPE,OPTIONS", limit=1 << 18)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where, and which options; one with a value is compared with it, one without by name.

    `mounted` in place of options asks only that the place is a mount point. With `persist` there
    must be an entry in /etc/fstab that has the options too; a mount unit of systemd's own is no
    entry.
    """

    mount_point: str
    options: tuple[str, ...] = ()
    mounted: bool = False
    persist: bool = False

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        require_path(self.mount_point, "mount_point")
        if bool(self.options) == self.mounted:
            raise ValueError("give `options`, at least one, or `mounted: true`")
        if any(not o.strip() or "," in o for o in self.options):
            raise ValueError("`options` must hold one option an element")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for all mounts once, and for all of fstab where it matters."""
    return (_MOUNTS, _FSTAB) if params.persist else (_MOUNTS,)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters,
    facts: Facts,  # noqa: ARG001
    observations: Observations,
) -> Verdict:
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
    expected = ",".join(params.options) or "mounted"
    point = params.mount_point.rstrip("/") or "/"
    options = mounts.get(point)
    if options is None:
        return failed(Reason.MISSING, expected, "not mounted", f"{point} is not a mount point")
    missing = [wanted for wanted in params.options if not _holds(wanted, options)]
    actual = ",".join(_named(options, params.options)) or ("mounted" if params.mounted else "")
    if missing:
        detail = f"{point} is mounted without {', '.join(missing)}"
        return failed(Reason.DIFFERS, expected, actual, detail)
    if params.persist:
        return _in_fstab(params, point, actual, observations)
    return passed(expected, actual)


def _in_fstab(params: Parameters, point: str, now: str, observations: Observations) -> Verdict:
    expected = (",".join(params.options) or "mounted") + ", now and in fstab"
    observation = answer(observations, _FSTAB)
    broken = unanswered(observation, _FSTAB) or hindered(observation)
    if broken is not None:
        return broken
    # findmnt ends with 1 where it finds nothing, an empty file or none.
    if observation.exit not in {0, 1} or (observation.exit == 1 and observation.stdout):
        return unexpected(observation)
    if observation.truncated:
        return cut(f"the last entry of {point}")
    options = parsed(observations, _FSTAB, _parse).get(point)
    if options is None:
        detail = f"/etc/fstab has no entry for {point}"
        return failed(Reason.MISSING, expected, f"{now}; not in fstab", detail)
    missing = [wanted for wanted in params.options if not _holds(wanted, options)]
    if missing:
        detail = f"/etc/fstab mounts {point} without {', '.join(missing)}"
        actual = (
            f"{now}; in fstab {','.join(_named(options, params.options)) or 'none of them'}"
        )
        return failed(Reason.DIFFERS, expected, actual, detail)
    return passed(expected, now)


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
