"""`openwatch keys forget-lost`: drop what was sealed with a key that nobody has any more."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import msgspec

from openwatch.accounts import lost_mfa
from openwatch.cli import DONE, FAILED
from openwatch.cli.outcome import printable
from openwatch.db import Database
from openwatch.fleet import credential_changes
from openwatch.keys import sealed, signing
from openwatch.keys.sealed import Value
from openwatch.vault import Vault


class _Lost(msgspec.Struct, frozen=True):
    """Something that no key opens, and what is done about it."""

    what: str
    done: str
    forget: Callable[[Database], object]


def forget(db: Database, vault: Vault, is_agreed: bool) -> int:
    """Print what no key opens and, where it was agreed to, drop it; 1 where it is still there."""
    with db.atomic():
        lost = _lost(db, vault)
        for one in lost:
            print(f"{one.what}: {one.done if is_agreed else 'cannot be opened'}")
            if is_agreed:
                one.forget(db)
    if not lost:
        print("everything that is stored can be opened")
        return DONE
    if not is_agreed:
        print(
            "Nothing was changed. Where the credential.key of these can still be found, restore it"
            " instead. With --yes, credentials are deleted, users lose their second factor and"
            " their sign-ins, and new signing keys are made, which no old one vouches for."
        )
        return FAILED
    print(
        "Store the credentials again, and write down the new signing keys: openwatch keys list"
    )
    return DONE


def _lost(db: Database, vault: Vault) -> list[_Lost]:
    found: dict[tuple[str, UUID | str], _Lost] = {}
    for value, _why in sealed.unreadable(db, vault):
        place = (value.column.table, value.row)
        if place not in found:
            found[place] = _KINDS[value.column.table](db, value)
    return list(found.values())


def _credential(db: Database, value: Value) -> _Lost:
    credential = UUID(str(value.row))
    name = credential_changes.label(db, credential)
    return _Lost(
        f"credential  {credential}  {printable(name)}",
        "deleted",
        lambda db: credential_changes.forget_lost(db, credential),
    )


def _factor(db: Database, value: Value) -> _Lost:
    owner = lost_mfa.owner(db, UUID(str(value.row)))
    return _Lost(
        f"mfa         {owner.user_id}  {printable(owner.username)}",
        "reset, and every sign-in ended"
        if owner.is_in_force
        else "dropped before it was proven",
        lambda db: lost_mfa.forget(db, owner),
    )


def _signing_key(_db: Database, value: Value) -> _Lost:
    return _Lost(
        f"signing     {value.row}",
        "retired",
        lambda db: signing.forget_lost(db, str(value.row)),
    )


_KINDS: dict[str, Callable[[Database, Value], _Lost]] = {
    "credentials": _credential,
    "auth_mfa_secrets": _factor,
    "signing_keys": _signing_key,
}
