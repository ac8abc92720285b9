"""`openwatch worker`."""

from __future__ import annotations

from openwatch.cli import Arguments
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging


def run(arguments: Arguments) -> int:
    """Work until told to stop; return the exit status."""
    if arguments["--inherit"]:
        from openwatch import app

        return app.inherited_worker()
    loaded = configured(arguments)
    start_logging(loaded)
    from openwatch import app  # after the configuration: a slip in it is told at once

    return app.worker(loaded.config)
