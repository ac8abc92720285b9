"""Looking at directories that may be closed to this account: nothing here raises OSError."""

from __future__ import annotations

import os
from pathlib import Path

CLOSED = "cannot be listed: make it readable and searchable for this account"


def is_folder(path: Path) -> bool:
    """Tell whether a directory is there, a link to one included; false where that is hidden."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Tell whether a regular file is there, a link to one included; false where that is hidden."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_link(path: Path) -> bool:
    """Tell whether a symbolic link is there; false where that is hidden."""
    try:
        return path.is_symlink()
    except OSError:
        return False


def is_open(folder: Path) -> bool:
    """Tell whether what is in a directory can be seen; true where there is no directory."""
    return not is_folder(folder) or os.access(folder, os.R_OK | os.X_OK, effective_ids=True)
