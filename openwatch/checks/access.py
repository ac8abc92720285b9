"""Who may do what with a file: an upper bound of its mode, its owner, its group."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks import files

_STICKY = 0o1000


class Access(msgspec.Struct, frozen=True):
    """What a file may be; names of owner and group may be several by `|`. `exact` is of the mode."""

    mode: str | None = None
    owner: str | None = None
    group: str | None = None
    exact: bool = False

    def require_some(self) -> None:
        """Raise ValueError where nothing is asked for, or a mode that is none."""
        if self.mode is None and self.owner is None and self.group is None:
            raise ValueError("give at least one of `mode`, `owner`, `group`")
        if self.mode is not None and not re.fullmatch(r"(0o)?[0-7]{1,5}", self.mode):
            raise ValueError(f"`mode` must be octal digits such as 0640: {self.mode!r}")
        for name in (self.owner, self.group):
            if name is not None and not all(name.split("|")):
                raise ValueError(
                    f"`owner` and `group` are names with `|` between them: {name!r}"
                )
        if self.exact and self.mode is None:
            raise ValueError("`exact` needs a `mode`")

    def wrong(self, found: files.Described) -> list[str]:
        """Return what is not as it may be, in words."""
        wrong = []
        if self.mode is not None and not _holds(found, int(self.mode, 8), self.exact):
            wrong.append(f"mode is {found.mode:04o}")
        if self.owner is not None and not _is(self.owner, found.owner, found.owner_id):
            wrong.append(f"owner is {found.owner}")
        if self.group is not None and not _is(self.group, found.group, found.group_id):
            wrong.append(f"group is {found.group}")
        return wrong

    @property
    def expected(self) -> str:
        """What is wanted, in words."""
        parts = []
        if self.mode is not None:
            parts.append(("mode " if self.exact else "mode at most ") + self.mode)
        parts += [f"owner {_listed(self.owner)}"] if self.owner is not None else []
        parts += [f"group {_listed(self.group)}"] if self.group is not None else []
        return ", ".join(parts)


def shown(found: files.Described) -> str:
    """Return what a file is, in words."""
    return f"{found.mode:04o} {found.owner}:{found.group}"


def _listed(names: str) -> str:
    return names.replace("|", " or ")


def _is(wanted: str, name: str, number: str) -> bool:
    """Compare by name or number; root is the number 0, whatever else has either of them."""
    return any(
        number == "0" if one == "root" else one in {name, number} for one in wanted.split("|")
    )


def _holds(found: files.Described, allowed: int, exact: bool) -> bool:
    if exact:
        return found.mode == allowed
    surplus = found.mode & ~allowed
    # The sticky bit only restricts; on a directory set-group-id grants nothing either.
    surplus &= ~_STICKY
    if found.kind == "directory":
        surplus &= ~0o2000
    if surplus:
        return False
    wants_sticky = bool(allowed & _STICKY) and bool(found.mode & 0o022)
    return not wants_sticky or bool(found.mode & _STICKY)
