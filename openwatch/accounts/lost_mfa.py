"""Second factors that no credential key opens any more, and doing without them."""

from __future__ import annotations

from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts import mfa
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.db import Database, load

_QUERIES = load("openwatch.accounts", "mfa.sql")


class Owner(msgspec.Struct, frozen=True):
    """Whose factor a row holds, and whether it is in force."""

    id: UUID
    user_id: UUID
    username: str
    is_in_force: bool


def owner(db: Database, factor: UUID) -> Owner:
    """Return whose factor this is. Raise NotFound."""
    row = db.row(_QUERIES["owner"], id=factor)
    if row is None:
        raise errors.NotFound("There is no such second factor.")
    return msgspec.convert(row, Owner)


def forget(db: Database, lost: Owner) -> None:
    """Drop a factor: as `mfa.reset` does where it is in force, by itself where it never was."""
    with db.atomic():
        if lost.is_in_force:
            mfa.reset(db, lost.user_id)
            return
        db.run(_QUERIES["forget_factor"], id=lost.id)
        trail.record(
            db,
            Code.AUTH_MFA_DISABLED,
            resource=Resource("user", str(lost.user_id)),
            reason="lost_key",
            was="pending",
        )
