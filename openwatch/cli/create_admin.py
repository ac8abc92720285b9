"""`openwatch create-admin`."""

from __future__ import annotations

from openwatch.accounts import users
from openwatch.cli import DONE, Arguments, secrets
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging
from openwatch.db import dsn
from openwatch.db.connect import open_database
from openwatch.db.migrate import require_current


def run(arguments: Arguments) -> int:
    """Create the user and print their id."""
    loaded = configured(arguments)
    start_logging(loaded)
    password = _password(arguments)
    settings = loaded.config.database
    db = open_database(
        dsn.parse(settings.dsn), max_connections=2, statement_timeout=settings.statement_timeout
    )
    try:
        require_current(db)
        user = users.create_admin(db, arguments["--username"], arguments["--email"], password)
    finally:
        db.close_all()
    print(f"created {user.username} with the role admin, id {user.id}")
    return DONE


def _password(arguments: Arguments) -> str:
    if arguments["--password-file"]:
        return secrets.from_file(arguments["--password-file"])
    if arguments["--password-stdin"] or not secrets.is_interactive():
        return secrets.from_stdin()
    return secrets.asked_twice("Password", "use --password-file or --password-stdin")
