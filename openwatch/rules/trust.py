"""Who could change the rules: they are asked as root on every host, so only root may.

A directory is trusted where it, everything in it and every directory above it belongs to root
and nobody else can write there.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from openwatch.errors import ConfigError
from openwatch.rules.folders import is_link

_MOST = 5  # doubts told of one directory
_SHUT = "cannot be listed by this program"


def require(directories: Sequence[Path]) -> None:
    """Raise ConfigError, with the commands that mend it, where somebody but root could write."""
    doubts = tuple(doubt for directory in directories for doubt in doubts_of(directory))
    if doubts:
        raise ConfigError(
            "rules.directories: rules are run as root on every host, so only root may be able to"
            " write them:",
            doubts,
        )


def doubts_of(directory: Path) -> tuple[str, ...]:
    """Return why a directory cannot be trusted, each with what mends it; nothing where it can."""
    found = []
    for path, above in _paths(directory):
        why = _doubt(path, above=above)
        if not why:
            continue
        where = shlex.quote(str(directory))
        mend = f": chown -R root:root {where} && chmod -R go-w,u=rwX {where}"
        if why == _SHUT:
            mend = f": chmod -R go+rX {where}"
        found.append(f"{path} {why}" + ("" if above else mend))
        if len(found) == _MOST:
            break
    return tuple(found)


def _paths(directory: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the directories above, then the directory and all in it; links as what they lead to.

    Each once: links may lead back to where they are.
    """
    seen: set[Path] = set()
    waiting = [directory]
    while waiting:
        place = waiting.pop()
        try:
            real = place.resolve(strict=True)
        except PermissionError:
            yield place, False
            continue
        except (OSError, RuntimeError):  # RuntimeError: a link that leads to itself
            continue  # that it is not there is told when it is read
        if real in seen:
            continue
        for parent in reversed(real.parents):
            yield parent, True
        yield real, False
        for top, folders, files in os.walk(real):
            seen.add(Path(top))
            for name in sorted([*folders, *files]):
                path = Path(top, name)
                yield path, False
                if is_link(path):
                    waiting.append(path)


def _doubt(path: Path, *, above: bool) -> str:  # noqa: PLR0911 - one line a doubt
    """Say who else could write: the owner, a group, others, or this process by an access list."""
    try:
        found = path.lstat()
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    if found.st_uid != 0:
        return f"belongs to user {found.st_uid}, not to root"
    if stat.S_ISLNK(found.st_mode):
        return ""  # a link has no mode of its own
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        if above and found.st_mode & stat.S_ISVTX:
            return ""  # as /tmp: nobody can move what is another one's there
        return f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    if os.geteuid() != 0 and os.access(path, os.W_OK, effective_ids=True):
        return "can be written by the account that this program runs as"
    may = os.X_OK if above else os.R_OK | os.X_OK
    if stat.S_ISDIR(found.st_mode) and not os.access(path, may, effective_ids=True):
        return _SHUT  # what it holds could be anybody's
    return ""
