"""`openwatch migrate`."""

from __future__ import annotations

from openwatch.cli import DONE, FAILED, Arguments
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging


def run(arguments: Arguments) -> int:
    """Apply what is missing, or print where the database stands.

    `--status` ends with 1 where `serve` would refuse to start on this schema.
    """
    loaded = configured(arguments)
    start_logging(loaded)
    from openwatch import app  # after the configuration: a slip in it is told at once

    if not arguments["--status"]:
        applied = app.migrate(loaded.config)
        for name in applied:
            print(f"applied {name}")
        print("the schema is current")
        return DONE
    state = app.status(loaded.config)
    print(f"the database is at migration {state.current}, this program knows {state.newest}")
    for name in state.pending:
        print(f"pending {name}")
    for number in state.unknown:
        print(f"unknown {number}: applied by a newer version")
    for name in state.changed:
        print(f"changed {name}: applied with another text")
    return DONE if state.is_current else FAILED
