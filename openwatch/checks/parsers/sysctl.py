"""Files of sysctl.d(5): which value a kernel parameter gets at boot."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Mapping

import msgspec

from openwatch.checks.config_lines import Line


class Setting(msgspec.Struct, frozen=True):
    """A line that names a parameter; without a value it keeps patterns off it."""

    value: str | None
    path: str
    line: int


class Boot(msgspec.Struct, frozen=True):
    """What the files say together, by the parameter's path below /proc/sys."""

    named: Mapping[str, Setting]
    patterns: tuple[tuple[str, Setting], ...]

    def of(self, key: str) -> Setting | None:
        """Return the setting that decides: a named one before any pattern, the last before all."""
        path = canonical(key)
        if path in self.named:
            found = self.named[path]
            return found if found.value is not None else None
        fits = [setting for pattern, setting in self.patterns if _fits(path, pattern)]
        return fits[-1] if fits else None


@functools.lru_cache(maxsize=8192)  # the same thousand keys at every host
def canonical(key: str) -> str:
    """Return the key as a path: dots separate, unless a slash comes before the first of them."""
    first = re.search(r"[./]", key)
    if first is None or first.group() == "/":
        return key.removeprefix("/proc/sys/")
    return key.translate(str.maketrans("./", "/."))


def boot(lines: Iterable[Line]) -> Boot:
    """Read lines in the order in which they are applied."""
    named: dict[str, Setting] = {}
    patterns = []
    for line in lines:
        text = line.text.strip()
        if not text or text[0] in "#;":
            continue
        key, equals, value = text.partition("=")
        ignored = key.startswith("-")  # a mistake about it is no error, nothing else
        key = canonical(key.removeprefix("-").strip())
        if not key or (not equals and not ignored):
            continue
        setting = Setting(" ".join(value.split()) if equals else None, line.path, line.number)
        if set(key) & set("*?["):
            patterns.append((key, setting))
        else:
            named[key] = setting
    return Boot(named, tuple((p, s) for p, s in patterns if s.value is not None))


def _fits(key: str, pattern: str) -> bool:
    """Tell whether a pattern names a key; its wildcards stop at a slash."""
    parts, wanted = key.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
