"""sudoers_rule: sudoers lets somebody run something, or lets nobody."""

from __future__ import annotations

from typing import Literal

import msgspec

from openwatch.checks import sudo_files
from openwatch.checks.answers import failed, passed, shortened, skipped
from openwatch.checks.parsers import sudoers
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a line must grant to count: each that is given, aliases counted as what they stand for.

    A line for ALL grants everybody and everything; ALL as a wish asks for just that. Lines whose
    users are all `excepted` do not count. A host without sudoers grants nothing, or is skipped with
    `missing: skip`.
    """

    state: Literal["present", "absent"]
    user: str | None = None
    runas: str | None = None
    command: str | None = None
    tag: str | None = None
    excepted: tuple[str, ...] = ()
    missing: Literal["judge", "skip"] = "judge"

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not (self.user or self.runas or self.command or self.tag):
            raise ValueError("give at least one of `user`, `runas`, `command`, `tag`")
        if self.tag is not None and self.tag not in sudoers.TAGS:
            raise ValueError(f"`tag` must be one such as NOPASSWD: {self.tag!r}")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for sudoers with everything that it includes."""
    return (sudo_files.WRITTEN,)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters,
    facts: Facts,  # noqa: ARG001
    observations: Observations,
) -> Verdict:
    """Look through all lines; a line that is there decides, whatever else could not be read."""
    found = sudo_files.read(observations)
    if isinstance(found, Verdict):
        return found
    expected = _expected(params)
    if found is None:
        if params.missing == "skip":
            return skipped(Reason.NOT_ASSESSABLE, f"{sudoers.MAIN} does not exist")
        if params.state == "absent":
            return passed(expected, "no sudoers")
        return failed(Reason.MISSING, expected, "no file", f"{sudoers.MAIN} does not exist")
    lines = [grant for grant in found.grants if _counts(params, grant, found)]
    if lines and params.state == "present":
        return passed(expected, _shown(lines[0]), lines[0].where)
    if lines:
        actual = shortened("; ".join(dict.fromkeys(map(_shown, lines))), 1000)
        return failed(Reason.PRESENT, expected, actual, f"{lines[0].where} allows it")
    unsure = sudo_files.doubt(found, observations)
    if unsure is not None:
        return unsure
    if params.state == "absent":
        return passed(expected, "absent")
    return failed(Reason.MISSING, expected, "absent", "no line of sudoers allows it")


def _counts(params: Parameters, grant: sudoers.Grant, found: sudoers.Sudoers) -> bool:
    users = [name for name in found.expanded(grant.users) if not name.startswith("!")]
    if users and set(users) <= set(params.excepted):
        return False
    return (
        (params.user is None or found.names(grant.users, params.user))
        and (params.runas is None or found.names(grant.runas, params.runas))
        and (params.tag is None or params.tag in grant.tags)
        and _runs(params.command, grant, found)
    )


def _runs(command: str | None, grant: sudoers.Grant, found: sudoers.Sudoers) -> bool:
    """Tell whether a grant allows a command; one without arguments allows any."""
    allowed = [one for one in found.expanded((grant.command,)) if not one.startswith("!")]
    if command is None:
        return bool(allowed)
    return any(
        one in {"ALL", command} or (" " not in one and command.startswith(f"{one} "))
        for one in allowed
    )


def _shown(grant: sudoers.Grant) -> str:
    tags = "".join(f"{tag}: " for tag in sorted(grant.tags))
    users, runas = ",".join(grant.users), ",".join(grant.runas)
    return shortened(f"{users} ({runas}) {tags}{grant.command}", 300)


def _expected(params: Parameters) -> str:
    given = {"user": params.user, "runas": params.runas, "command": params.command}
    parts = [f"{key} {value}" for key, value in given.items() if value]
    parts += [params.tag] if params.tag else []
    line = ("a line" if params.state == "present" else "no line") + " with " + ", ".join(parts)
    return line + (f", {', '.join(params.excepted)} excepted" if params.excepted else "")


METHOD = Method("sudoers_rule", Parameters, probes, judge)
