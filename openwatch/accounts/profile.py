"""What users say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from openwatch import errors
from openwatch.accounts import users
from openwatch.accounts.users import User
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Actor, Resource
from openwatch.db import Database, load

LONGEST = {
    "full_name": 256,
    "display_name": 256,
    "job_title": 256,
    "timezone": 64,
    "phone": 64,
}  # characters
_QUERIES = load("openwatch.accounts", "profile.sql")


def change(
    db: Database, user_id: UUID, given: Mapping[str, str | None], *, actor: Actor
) -> User:
    """Change what is given and return the user; None leaves a field as it is, "" clears it.

    The e-mail address cannot be cleared. Raise InvalidInput (validation.field_invalid); Conflict
    (users.email_taken); Unauthenticated where the user is gone.
    """
    wanted = {name: _accepted(name, text) for name, text in given.items() if text is not None}
    with users.naming_taken(), db.atomic():
        before = db.row(_QUERIES["hold_profile"], user_id=user_id)
        if before is None:
            raise errors.Unauthenticated("Sign in first.")
        after = before | wanted
        changed = sorted(name for name in after if after[name] != before[name])
        if changed:
            db.run(_QUERIES["put_profile"], user_id=user_id, **after)
            trail.record(
                db,
                Code.AUTH_PROFILE_UPDATED,
                actor=actor,
                resource=Resource("user", str(user_id)),
                email_changed="email" in changed,
                changed=changed,
            )
        found = users.get(db, user_id)
    assert found is not None  # noqa: S101 - the row is held
    return found


def _accepted(name: str, text: str) -> str:
    if name == "email":
        return users.acceptable_email(text)
    text = users.acceptable_text(name, text, shortest=0)
    if len(text) > LONGEST[name]:
        raise errors.InvalidInput(
            f"{name} must have at most {LONGEST[name]} characters.",
            code="validation.field_invalid",
            field=name,
        )
    return text
