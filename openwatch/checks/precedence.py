"""Which of the files that set a key decides: programs differ, and this is what each one does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from openwatch.checks import files
from openwatch.checks.config_lines import Line
from openwatch.checks.types import Probe

_SYSTEMD = re.compile(r"/etc/systemd/([^/]+\.conf)")
# Where systemd looks for drop-ins; a file hides those of its name in the directories after.
_LAYERS = (
    "/etc/systemd",
    "/run/systemd",
    *(f"{x}/systemd" for x in ("/usr/local/lib", "/usr/lib", "/lib")),
)
_PWQUALITY = "/etc/security/pwquality.conf"


def sources(path: str, dropin_dir: str | None) -> tuple[Probe, ...]:
    """Return the questions for a file and its drop-ins, the weakest first.

    For programs whose drop-ins are known these are asked for even where a rule names only the
    file: what they say holds all the same.
    """
    own = dropin_dir in {None, f"{path}.d"}
    systemd = _SYSTEMD.fullmatch(path)
    if systemd and own:
        layers = [f"{layer}/{systemd.group(1)}.d" for layer in _LAYERS]
        return (files.reading(path), files.reading_layers(layers))
    if path == _PWQUALITY and own:
        # The library reads its drop-ins first, so that the file overrides them.
        return (files.reading_all(f"{path}.d"), files.reading(path))
    if dropin_dir is not None:
        return (files.reading(path), files.reading_all(dropin_dir.rstrip("/")))
    return (files.reading(path),)


def layered(lines: Iterable[Line], layers: Sequence[str] = _LAYERS) -> list[Line]:
    """Return the lines of a `reading_layers` that hold, in the order in which they are read."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.path, []).append(line)
    chosen: dict[str, str] = {}  # by the file's name
    for path in sorted(found, key=lambda path: _layer(path, layers)):
        chosen.setdefault(path.rpartition("/")[2], path)
    return [line for _, path in sorted(chosen.items()) for line in found[path]]


def _layer(path: str, layers: Sequence[str]) -> int:
    return next((n for n, one in enumerate(layers) if path.startswith(f"{one}/")), len(layers))
