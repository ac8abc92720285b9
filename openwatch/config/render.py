"""The table of options as a page for people."""

from __future__ import annotations

import json
from typing import Any

from openwatch.config.load import COMMAND_VARIABLES, IDLE_KEYS, IDLE_VARIABLES
from openwatch.config.schema import DEFAULT_FILE, OPTIONS, SECTIONS

_HEAD = f"""# Configuration

Each option has a default and can be set in the file, in the environment, and some by a flag.
A flag wins over the environment, the environment over the file, the file over the default.

The file is `{DEFAULT_FILE}`, or the one `--config` names; the default one may be absent. It is
TOML. In the environment a list is written with commas, and an empty variable counts as unset.
A key or a variable of ours that is not listed here is an error, so that a slip of the pen is
never a setting that silently does nothing. `openwatch check-config` prints every value and
where it came from.

`--listen` sets `server.listen`, `--log-level` sets `logging.level`, and `--poll-interval` of
`openwatch worker` sets `worker.poll_interval`.
"""


def markdown() -> str:
    """Return docs/configuration.md."""
    parts = [_HEAD]
    for section, sentence in SECTIONS.items():
        parts.append(f"\n## [{section}]\n\n{sentence}\n")
        parts.extend(
            f"\n### {option.name}\n\n{option.about.doc}\n\n"
            f"- Expected: {option.expects}\n"
            f"- Default: `{toml(option.default)}`\n"
            f"- Environment: `{option.variable}`\n"
            for option in OPTIONS
            if option.section == section
        )
    parts.append("\n## Variables of single commands\n\n")
    parts.extend(f"- `{name}`: {what}.\n" for name, what in COMMAND_VARIABLES.items())
    parts.append(
        "\n## Accepted without effect\n\n"
        "These belong to the system this one replaces. They are accepted, so that old files and\n"
        "units keep working, and a warning says that they do nothing.\n\n"
    )
    parts.extend(f"- `{name}`\n" for name in (*IDLE_KEYS, *IDLE_VARIABLES))
    return "".join(parts)


def toml(value: Any) -> str:
    """Return a value as it would be written in the file."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
