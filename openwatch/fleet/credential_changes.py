"""Change, copy and remove stored credentials. The caller holds the row and the transaction."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.accounts import types as accounts
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.db import Database, load
from openwatch.db.postgres import Row
from openwatch.fleet import credentials
from openwatch.fleet.credentials import COLUMNS, TABLE, NewCredential
from openwatch.fleet.types import AuthMethod, Credential, Scope, Secrets
from openwatch.ssh.keys import PrivateKey, parse_private_key
from openwatch.vault import Vault

_QUERIES = load("openwatch.fleet", "credential_changes.sql")
_LONGEST_NAME = 256
_MOST_COPIES = 1000


class Change(msgspec.Struct, frozen=True):
    """What is to be different. A secret that is not given stays as it is."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    username: str | msgspec.UnsetType = msgspec.UNSET
    auth_method: AuthMethod | msgspec.UnsetType = msgspec.UNSET
    is_default: bool | msgspec.UnsetType = msgspec.UNSET
    secrets: Secrets = Secrets()


class Demoted(msgspec.Struct, frozen=True):
    """The credential that was the system's default until now."""

    id: UUID
    auth_method: AuthMethod


class Changed(msgspec.Struct, frozen=True):
    """A credential as it is now, whether a secret of it is another, and what it took the place of."""

    credential: Credential
    is_secret_new: bool
    demoted: tuple[Demoted, ...]


def hold(
    db: Database, credential_id: UUID, *, scope: accounts.Scope, may_promote: bool = False
) -> Credential:
    """Lock an active credential until the transaction ends, and return it. Raise NotFound."""
    if may_promote:
        db.run(_QUERIES["hold_default"])
    if db.row(_QUERIES["hold"], id=credential_id) is None:
        raise errors.NotFound("There is no such credential.", code="credentials.not_found")
    return credentials.get(db, credential_id, scope=scope)


def change(
    db: Database, vault: Vault, before: Credential, wanted: Change, *, scope: accounts.Scope
) -> Changed:
    """Change a credential that is held. What its method no longer uses is gone.

    Raise InvalidInput (credentials.missing_secret, .invalid_key, validation.field_invalid) and
    Conflict (resource.conflict; credentials.unreadable where a stored secret has to be opened and
    the key that sealed it is lost).
    """
    said = {
        name: getattr(before, name)
        if (value := getattr(wanted, name)) is msgspec.UNSET
        else value
        for name in ("name", "description", "username", "auth_method", "is_default")
    }
    credentials.require_lines(said["name"], said["username"], said["description"])
    row = db.row(_QUERIES["hold"], id=before.id)
    assert row is not None  # noqa: S101 - it is held
    try:
        values = _Stored(vault, before, row).values(said["auth_method"], wanted.secrets)
    except errors.SecretUnreadable as lost:
        raise _unreadable() from lost
    is_secret_new = any(
        values[column] is not None and values[column] != row[column]
        for column in COLUMNS.values()
    )
    try:
        with db.atomic():
            demoted: tuple[Demoted, ...] = ()
            if said["is_default"] and before.scope is Scope.SYSTEM:
                rows = db.rows(_QUERIES["demote"], id=before.id)
                demoted = msgspec.convert(rows, tuple[Demoted, ...])
            said["auth_method"] = said["auth_method"].value
            db.run(_QUERIES["change"], id=before.id, **said, **values)
    except errors.IntegrityViolation as violation:
        raise credentials.refused(violation) from None
    if is_secret_new or said["username"] != before.username:
        db.run(_QUERIES["try_again"], id=before.id)
    return Changed(credentials.get(db, before.id, scope=scope), is_secret_new, demoted)


def clone(
    db: Database,
    vault: Vault,
    source: Credential,
    place: tuple[Scope, UUID | None],
    *,
    name: str | None,
    is_default: bool,
    scope: accounts.Scope,
    created_by: UUID | None,
) -> Credential:
    """Store a copy for another place (a scope and the host's id), sealed anew for its own row.

    Raise as `credentials.create`, and Conflict (credentials.unreadable).
    """
    try:
        secrets = credentials.opened(db, vault, source.id)
    except errors.SecretUnreadable as lost:
        raise _unreadable() from lost
    new = NewCredential(
        scope=place[0],
        scope_id=place[1],
        name=_free_name(db, source.name, place) if name is None else name,
        description=source.description,
        username=source.username,
        auth_method=source.auth_method,
        secrets=secrets,
        is_default=is_default,
    )
    return credentials.create(db, vault, new, scope=scope, created_by=created_by)


def remove(db: Database, credential_id: UUID) -> None:
    """Use a credential no more; its secrets are gone, its row stays."""
    db.run(_QUERIES["remove"], id=credential_id)


def label(db: Database, credential_id: UUID) -> str:
    """Return what people know a credential by."""
    return str(db.value(_QUERIES["label"], id=credential_id) or "")


def forget_lost(db: Database, credential_id: UUID) -> None:
    """Remove a credential whose secrets no key opens."""
    with db.atomic():
        remove(db, credential_id)
        trail.record(
            db,
            Code.CREDENTIAL_DELETED,
            resource=Resource("credential", str(credential_id)),
            credential_id=str(credential_id),
            reason="lost_key",
        )


class _Stored:
    """The columns of a credential that have to do with its secrets, as they are and are to be."""

    def __init__(self, vault: Vault, credential: Credential, row: Row) -> None:
        self._vault = vault
        self._credential = credential
        self._row = row

    def values(self, method: AuthMethod, given: Secrets) -> dict[str, Any]:
        """Return the columns under a method, with these secrets in place of the stored ones."""
        found: dict[str, Any] = dict.fromkeys(COLUMNS.values())
        found |= dict.fromkeys(
            ("ssh_key_fingerprint", "ssh_key_type", "ssh_key_bits", "ssh_key_comment")
        )
        if method is not AuthMethod.SSH_KEY:
            column = COLUMNS["password"]
            found[column] = self._row[column]
            if given.password:
                found |= self._sealed(Secrets(password=given.password))
            if found[column] is None:
                raise credentials.lacking("password", method)
        if method is not AuthMethod.PASSWORD:
            found |= self._key(method, given)
        return found

    def _key(self, method: AuthMethod, given: Secrets) -> dict[str, Any]:
        text = given.private_key or None
        if text is None and self._row[COLUMNS["private_key"]] is None:
            raise credentials.lacking("private_key", method)
        if text is None and not given.passphrase:
            kept = {
                COLUMNS[name]: self._row[COLUMNS[name]]
                for name in ("private_key", "passphrase")
            }
            names = ("ssh_key_fingerprint", "ssh_key_type", "ssh_key_bits", "ssh_key_comment")
            return kept | {name: getattr(self._credential, name) for name in names}
        text = text or self._opened("private_key") or ""
        passphrase, key = self._fitting(text, given.passphrase or None)
        sealed = self._sealed(Secrets(private_key=text, passphrase=passphrase))
        return {COLUMNS["passphrase"]: None, **sealed, **credentials.shown(key)}

    def _fitting(self, text: str, given: str | None) -> tuple[str | None, PrivateKey]:
        """Return the passphrase of a key, the given or the stored one, and what the key is."""
        try:
            return given, parse_private_key(text, given)
        except errors.InvalidInput as wrong:
            stored = self._opened("passphrase") if wrong.detail.get("is_encrypted") else None
            if stored is None:
                raise
            return stored, parse_private_key(text, stored)

    def _opened(self, name: str) -> str | None:
        column, row = COLUMNS[name], self._credential.id
        if (envelope := self._row[column]) is None:
            return None
        return self._vault.open(bytes(envelope), table=TABLE, row=row, column=column).decode()

    def _sealed(self, secrets: Secrets) -> dict[str, bytes]:
        return credentials.sealed(self._vault, self._credential.id, secrets)


def _free_name(db: Database, name: str, place: tuple[Scope, UUID | None]) -> str:
    """Return the name of a copy that its place does not have yet."""
    found = name
    for number in range(1, _MOST_COPIES):
        ending = " (clone)" if number == 1 else f" (clone {number})"
        found = name[: _LONGEST_NAME - len(ending)] + ending
        if not db.value(
            _QUERIES["is_named"], scope=place[0].value, scope_id=place[1], name=found
        ):
            break
    return found


def _unreadable() -> errors.Conflict:
    return errors.Conflict(
        "A stored secret of this credential cannot be opened: the credential key that sealed it is"
        " lost. Give every secret again that its method uses.",
        code="credentials.unreadable",
    )
