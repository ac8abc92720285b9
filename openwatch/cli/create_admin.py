"""`openwatch create-admin`."""

from __future__ import annotations

from openwatch.cli import DONE, Arguments, secrets
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging


def run(arguments: Arguments) -> int:
    """Create the user and print their id."""
    loaded = configured(arguments)
    start_logging(loaded)
    password = secrets.new_password(arguments)
    from openwatch import app  # after the password: a slip in typing it is told at once
    from openwatch.accounts import users

    with app.administration(loaded.config) as db:
        user = users.create_admin(db, arguments["--username"], arguments["--email"], password)
    print(f"created {user.username} with the role admin, id {user.id}")
    return DONE
