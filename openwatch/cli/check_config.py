"""`openwatch check-config`."""

from __future__ import annotations

import json
import sys
from typing import Any

from openwatch import errors
from openwatch.cli import DONE, FAILED, Arguments
from openwatch.cli.arguments import configured
from openwatch.config import OPTIONS, Loaded, toml
from openwatch.db import dsn


def run(arguments: Arguments) -> int:
    """Print each value and its origin; every problem, and 1, where it cannot be used."""
    try:
        loaded = configured(arguments)
        shown = _shown(loaded)
    except errors.ConfigError as wrong:
        if not arguments["--json"]:
            raise
        print(_json({"valid": False, "problems": wrong.problems or (wrong.message,)}))
        return FAILED
    if arguments["--json"]:
        settings = {
            o.name: {"value": shown[o.name], "origin": loaded.origins[o.name]} for o in OPTIONS
        }
        print(
            _json(
                {
                    "valid": True,
                    "file": loaded.file or None,
                    "settings": settings,
                    "warnings": loaded.warnings,
                }
            )
        )
        return DONE
    print(_text(loaded, shown))
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return DONE


def _shown(loaded: Loaded) -> dict[str, Any]:
    """Return the values as they may be printed: no password in a DSN."""
    values = {o.name: getattr(getattr(loaded.config, o.section), o.key) for o in OPTIONS}
    text = values["database.dsn"]
    try:
        values["database.dsn"] = dsn.parse(text).redacted()
    except (errors.OpenWatchError, ValueError) as why:
        problem = f"{_origin(loaded, 'database.dsn')}: database.dsn: {_without(text, str(why))}"
        raise errors.ConfigError("the configuration cannot be used:", (problem,)) from None
    return values


def _without(secret: str, message: str) -> str:
    return message.replace(secret, "***")


def _origin(loaded: Loaded, name: str) -> str:
    return loaded.origins[name].removeprefix("file ")


def _text(loaded: Loaded, shown: dict[str, Any]) -> str:
    lines = []
    section = ""
    widest = max(len(o.key) for o in OPTIONS)
    for option in OPTIONS:
        if option.section != section:
            section = option.section
            lines.append(f"[{section}]")
        value = toml(shown[option.name])
        lines.append(f"  {option.key:<{widest}} = {value}  # {loaded.origins[option.name]}")
    lines += ["", "the configuration is valid"]
    return "\n".join(lines)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)
