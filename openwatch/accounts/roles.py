"""The built-in roles in the database, and which of a user's roles is shown as the one."""

from __future__ import annotations

from collections.abc import Iterable

from openwatch.accounts.permissions import BUILT_IN
from openwatch.db import Database, load

_QUERIES = load("openwatch.accounts")
_PRECEDENCE = ("admin", "security_admin", "ops_lead", "auditor", "viewer")


def ensure_built_in(db: Database) -> None:
    """Make the built-in roles be what this version of the program defines."""
    with db.scope(), db.atomic():
        for name, (description, permissions) in sorted(BUILT_IN.items()):
            db.run(
                _QUERIES["upsert_role"],
                id=name,
                description=description,
                permissions=sorted(permissions),
            )


def foremost(roles: Iterable[str]) -> str:
    """Return the one role that the API shows for a user; "" for none.

    What a user may do comes from all of them.
    """
    held = set(roles)
    return next((name for name in _PRECEDENCE if name in held), min(held, default=""))
