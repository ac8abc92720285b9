"""The rules that a command without a configuration works with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openwatch import errors
from openwatch.cli import UsageError, complain
from openwatch.rules import load, trust
from openwatch.rules.types import Corpus


def loaded(arguments: Mapping[str, Any]) -> Corpus:
    """Return the rules of the program and of `--rules`, with the variables of `--var`.

    Rules that somebody but root could have written are refused to root, and named to anybody
    else, whose own they are likely to be. Raise UsageError, ConfigError, RuleError.
    """
    directories = folders(arguments["--rules"])
    if os.geteuid() == 0:
        trust.require(directories)
    else:
        for directory in directories:
            for doubt in trust.doubts_of(directory)[:1]:
                complain(
                    f"warning: {doubt.split(': chown', 1)[0]}; it may be changed by others"
                )
    given = variables(arguments["--var"])
    try:
        return load.load(directories, given)
    except errors.RuleError as wrong:
        if given and not wrong.file:  # it is about no file, so it is about the command line
            raise UsageError(f"--var: {wrong.message}") from None
        raise


def variables(given: list[str]) -> dict[str, object]:
    """Return what `--var NAME=VALUE` says. Raise UsageError."""
    found: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--var takes NAME=VALUE, not {text!r}")
        found[name.strip()] = value
    return found


def folders(given: list[str]) -> tuple[Path, ...]:
    """Return directories that exist. Raise UsageError."""
    for text in given:
        if not Path(text).is_dir():
            raise UsageError(f"--rules {text}: there is no such directory")
    return tuple(map(Path, given))
