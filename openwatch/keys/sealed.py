"""Everything that the credential key has sealed: where it is, and how it is sealed anew.

Whatever seals a value into a column names the column here; the rotation of the key and the search
for what no key opens look nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Literal
from uuid import UUID

import msgspec

from openwatch import errors, log
from openwatch.db import Database, Query, load
from openwatch.vault import Vault

BATCH = 200
_log = logging.getLogger(__name__)
_QUERIES = load("openwatch.keys", "sealed.sql")


class Column(msgspec.Struct, frozen=True):
    """A column of envelopes, in a table whose rows go by `id`, which the vault calls `row`."""

    table: str
    name: str
    id_type: Literal["uuid", "text"] = "uuid"

    def __str__(self) -> str:
        """Name it."""
        return f"{self.table}.{self.name}"


class Value(msgspec.Struct, frozen=True):
    """An envelope and the row it is in."""

    column: Column
    row: UUID | str
    envelope: bytes

    def opened(self, vault: Vault) -> bytes:
        """Return the secret. Raise SecretUnreadable."""
        place = self.column
        return vault.open(self.envelope, table=place.table, row=self.row, column=place.name)


COLUMNS = (
    Column("credentials", "encrypted_password"),
    Column("credentials", "encrypted_private_key"),
    Column("credentials", "encrypted_private_key_passphrase"),
    Column("auth_mfa_secrets", "encrypted_secret"),
    Column("signing_keys", "private_sealed", "text"),
)


class _Statements(msgspec.Struct, frozen=True):
    """What is asked of a column; the names come from COLUMNS, never from outside."""

    others: Query
    exchange: Query
    count: Query


def _statements(column: Column) -> _Statements:
    table, name, kind = column.table, column.name, column.id_type
    is_other = (
        f"t.{name} IS NOT NULL AND encode(substring(t.{name} FROM 2 FOR 8), 'hex') <> ALL"
    )
    return _Statements(
        others=Query(
            "others",
            "envelopes of other keys, behind a row",
            f"SELECT t.id, t.{name} AS envelope FROM {table} t"  # noqa: S608 - see above
            f" WHERE {is_other}(:key_ids::text[])"
            f" AND (:after::{kind} IS NULL OR t.id > :after::{kind})"
            f" ORDER BY t.id LIMIT {BATCH}",
        ),
        exchange=Query(
            "exchange",
            "another envelope, where the row still holds this one",
            f"UPDATE {table} SET {name} = :sealed::bytea"  # noqa: S608 - see above
            f" WHERE id = :row::{kind} AND {name} = :envelope::bytea",
        ),
        count=Query(
            "count",
            "how many envelopes of other keys",
            f"SELECT count(*) FROM {table} t WHERE {is_other}(:key_ids::text[])",  # noqa: S608
        ),
    )


_STATEMENTS: Mapping[Column, _Statements] = {one: _statements(one) for one in COLUMNS}


def beyond(db: Database, key_ids: Collection[str]) -> Iterator[list[Value]]:
    """Yield, in batches, what none of these keys has sealed."""
    for column in COLUMNS:
        after = None
        while True:
            rows = db.rows(_STATEMENTS[column].others, key_ids=list(key_ids), after=after)
            if not rows:
                break
            yield [Value(column, row["id"], bytes(row["envelope"])) for row in rows]
            after = rows[-1]["id"]


def lost(db: Database, vault: Vault) -> dict[str, int]:
    """Return how many values of each column no held key opens, where there are any."""
    counted = {
        str(column): db.value(_STATEMENTS[column].count, key_ids=list(vault.key_ids))
        for column in COLUMNS
    }
    return {name: count for name, count in counted.items() if count}


def renew(db: Database, vault: Vault) -> int:
    """Seal anew, with the key that seals now, what another one has sealed; return how many.

    Each batch commits by itself, and a value that somebody changes meanwhile is left as they made
    it, so it can be broken off and begun again at any time. Raise SecretUnreadable at the first
    value that no held key opens.
    """
    done = 0
    for batch in beyond(db, [vault.primary]):
        with db.atomic():
            for value in batch:
                place = value.column
                sealed = vault.seal(
                    value.opened(vault), table=place.table, row=value.row, column=place.name
                )
                done += db.run(
                    _STATEMENTS[place].exchange,
                    row=value.row,
                    envelope=value.envelope,
                    sealed=sealed,
                )
    return done


def unreadable(db: Database, vault: Vault) -> Iterator[tuple[Value, str]]:
    """Yield every value that the vault does not open, and why; nothing that it opens is kept."""
    for batch in beyond(db, []):
        for value in batch:
            try:
                value.opened(vault)
            except errors.SecretUnreadable as lost:
                yield value, lost.message


def retire(db: Database, key_id: str) -> bool:
    """Have the database refuse what this key seals from now on; say whether it was not so before.

    Call it in a transaction of its own: when that has committed, so has all that was sealed with
    the key. Raise QueryTimeout where somebody who has sealed does not end.
    """
    db.run(_QUERIES["hold"])
    return bool(db.run(_QUERIES["retire"], id=key_id))


def tell_lost(db: Database, vault: Vault) -> None:
    """Say in the log what no held key opens: credentials that have to be given again, for one."""
    if found := lost(db, vault):
        named = ", ".join(f"{count} of {place}" for place, count in found.items())
        log.event(
            _log,
            logging.ERROR,
            "keys.lost",
            f"stored secrets open with none of the held keys: {named}; restore the credential.key"
            " that belongs to this database, or run: openwatch keys forget-lost",
            **found,
        )


def require_not_retired(db: Database, key_id: str) -> None:
    """Raise KeyFileError where the key was replaced by another one, and is back in use."""
    at = db.value(_QUERIES["retired_at"], id=key_id)
    if at is not None:
        raise errors.KeyFileError(
            f"the credential key {key_id} was replaced on {at:%Y-%m-%d}, and nothing may be sealed"
            " with it again; put the key back that took its place or, where that is lost, a new one"
        )
