"""`openwatch users`: for the day nobody can sign in. What is done is recorded as the system's doing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from openwatch.cli import DONE, Arguments, UsageError, secrets
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging
from openwatch.cli.outcome import printable
from openwatch.config import suggestion
from openwatch.db import Database

if TYPE_CHECKING:  # its hashing is loaded when it is needed
    from openwatch.accounts.users import User

_Act = Callable[[Database], str]


def run(arguments: Arguments) -> int:
    """Run the subcommand that was meant, say what was done, and return the exit status."""
    loaded = configured(arguments)
    start_logging(loaded)
    act = _act(arguments)
    from openwatch import app  # after the password: a slip in typing it is told at once

    with app.administration(loaded.config) as db:
        print(act(db))
    return DONE


def _act(arguments: Arguments) -> _Act:
    name = arguments["NAME"]
    if arguments["list"]:
        return lambda db: _listed(db, as_json=arguments["--json"])
    if arguments["reset-password"]:
        password = secrets.new_password(arguments)
        return lambda db: _reset_password(db, name, password)
    act = {"unlock": _unlock, "disable": _disable, "enable": _enable, "reset-mfa": _reset_mfa}
    chosen = next(act[word] for word in act if arguments[word])
    return lambda db: chosen(db, name)


def _listed(db: Database, *, as_json: bool) -> str:
    from openwatch.accounts import directory

    found, _ = directory.listed(db)
    if as_json:
        rows = [
            {
                "id": str(user.id),
                "username": user.username,
                "email": user.email,
                "roles": user.roles,
                "disabled": user.disabled_at is not None,
            }
            for user in found
        ]
        return json.dumps({"users": rows}, indent=2, ensure_ascii=False)
    if not found:
        return "there are no users; `openwatch create-admin` makes the first"
    widest = max(len(printable(user.username)) for user in found)
    return "\n".join(
        f"{printable(user.username):<{widest}}  {', '.join(user.roles) or 'no role'}"
        + ("  disabled" if user.disabled_at else "")
        for user in found
    )


def _reset_password(db: Database, name: str, password: str) -> str:
    from openwatch import clock
    from openwatch.accounts import lockout, passwords
    from openwatch.accounts.login import set_password

    user = _known(db, name)
    shortest = passwords.SHORTEST_OF_ADMIN if "admin" in user.roles else passwords.SHORTEST
    set_password(db, user, password, now=clock.now(), shortest=shortest)
    lockout.unlock(db, user.username)
    disabled = "; the user is disabled, see `openwatch users enable`"
    return f"{name} has the new password, and every sign-in of theirs has ended" + (
        disabled if user.is_disabled else ""
    )


def _unlock(db: Database, name: str) -> str:
    from openwatch.accounts import lockout
    from openwatch.audit import trail
    from openwatch.audit.codes import Code
    from openwatch.audit.types import Resource

    user = _known(db, name)
    with db.atomic():
        lockout.unlock(db, user.username)
        trail.record(
            db,
            Code.ADMIN_USER_UPDATED,
            resource=Resource("user", str(user.id)),
            target_user_id=str(user.id),
            unlocked=True,
        )
    return f"{name} can try to sign in at once, wherever it failed"


def _disable(db: Database, name: str) -> str:
    from openwatch import clock
    from openwatch.accounts import directory, grants

    directory.disable(db, grants.ROOT, _known(db, name).id, clock.now())
    return f"{name} is disabled; their sign-ins and API tokens have ended"


def _enable(db: Database, name: str) -> str:
    from openwatch.accounts import directory, grants

    directory.enable(db, grants.ROOT, _known(db, name).id)
    return f"{name} can sign in; what was ended stays ended"


def _reset_mfa(db: Database, name: str) -> str:
    from openwatch.accounts import mfa

    if mfa.reset(db, _known(db, name).id):
        return f"{name} has no second factor any more, and every sign-in of theirs has ended"
    return f"{name} had no second factor; every sign-in of theirs has ended"


def _known(db: Database, name: str) -> User:
    from openwatch.accounts import directory, users

    user = users.find(db, name)
    if user is None:
        names = [one.username for one in directory.listed(db)[0]]
        raise UsageError(f"there is no user {name!r}{suggestion(name, names)}")
    return user
