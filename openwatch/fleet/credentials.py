"""Credentials: stored sealed, shown without their secrets, resolved for one host at a time."""

from __future__ import annotations

from uuid import UUID

import msgspec

from openwatch import errors, ids
from openwatch.accounts import types as accounts
from openwatch.db import Database, load
from openwatch.db.pages import WHOLE, Column, Listing, Page, fetch
from openwatch.fleet import hosts, tables
from openwatch.fleet.types import AuthMethod, Credential, Scope, Secrets
from openwatch.ssh.keys import PrivateKey, parse_private_key
from openwatch.vault import Vault

LISTING = Listing(
    sorts=(Column("created_at", "timestamptz"), Column("name"), Column("username")),
    searched=("name", "username", "description", "ssh_key_fingerprint"),
    filters=(Column("scope"), Column("scope_id", "uuid"), Column("auth_method")),
    is_descending=False,
)
_QUERIES = load("openwatch.fleet")
TABLE = "credentials"
COLUMNS = {
    "password": "encrypted_password",
    "private_key": "encrypted_private_key",
    "passphrase": "encrypted_private_key_passphrase",
}
_REFUSED = {
    "credentials_one_system_default": (
        "credentials.multiple_system_defaults",
        "There is a default credential already; make it no default first.",
    ),
    "credentials_name": (
        "resource.conflict",
        "There is a credential of this name in this scope already.",
    ),
}


class NewCredential(msgspec.Struct, frozen=True):
    """What is said of a credential when it is stored."""

    scope: Scope
    name: str
    username: str
    auth_method: AuthMethod
    secrets: Secrets
    scope_id: UUID | None = None
    description: str | None = None
    is_default: bool = False


def create(
    db: Database,
    vault: Vault,
    new: NewCredential,
    *,
    scope: accounts.Scope,
    created_by: UUID | None = None,
) -> Credential:
    """Store a credential, its secrets sealed to this row.

    Raise InvalidInput (credentials.invalid_scope, .host_not_found, .missing_secret, .invalid_key,
    validation.field_invalid) and Conflict (credentials.multiple_system_defaults).
    """
    require_lines(new.name, new.username, new.description)
    _require_scope(db, new, scope)
    secrets = _kept(new)
    key = (
        parse_private_key(secrets.private_key, secrets.passphrase)
        if secrets.private_key
        else None
    )
    credential_id = ids.new_id()
    try:
        with db.atomic():
            tables.Credential.insert(
                id=credential_id,
                scope=new.scope.value,
                scope_id=new.scope_id,
                name=new.name,
                description=new.description,
                username=new.username,
                auth_method=new.auth_method.value,
                is_default=new.is_default,
                created_by=created_by,
                **sealed(vault, credential_id, secrets),
                **shown(key),
            ).execute(db)
            return get(db, credential_id, scope=scope)
    except errors.IntegrityViolation as violation:
        raise refused(violation) from None


def refused(violation: errors.IntegrityViolation) -> errors.OpenWatchError:
    """Return what a person is told of a violated constraint."""
    if violation.constraint not in _REFUSED:
        return violation
    code, message = _REFUSED[violation.constraint]
    return errors.Conflict(message, code=code)


def get(db: Database, credential_id: UUID, *, scope: accounts.Scope) -> Credential:
    """Return an active credential. Raise NotFound (credentials.not_found)."""
    row = db.row(_QUERIES["credential_by_id"], id=credential_id, groups=scope.parameter)
    if row is None:
        raise errors.NotFound("There is no such credential.", code="credentials.not_found")
    return msgspec.convert(row, Credential)


def listed(
    db: Database, page: Page = WHOLE, *, scope: accounts.Scope
) -> tuple[tuple[Credential, ...], tuple[str, str] | None]:
    """Return a page of the active credentials, the oldest first, and where the next begins."""
    found = fetch(db, _QUERIES["credentials"], LISTING, page, groups=scope.parameter)
    return tuple(msgspec.convert(row, Credential) for row in found.rows), found.last


def resolve(db: Database, host_id: UUID, *, scope: accounts.Scope) -> Credential | None:
    """Return the credential a scan of the host uses: its own newest, else the system's default.

    One of them as a whole: fields of two are never blended.
    """
    row = db.row(_QUERIES["resolve_credential"], host_id=host_id, groups=scope.parameter)
    return None if row is None else msgspec.convert(row, Credential)


def opened(db: Database, vault: Vault, credential_id: UUID) -> Secrets:
    """Return the secrets of a credential. Raise SecretUnreadable, NotFound."""
    row = db.row(_QUERIES["sealed_secrets"], id=credential_id)
    if row is None:
        raise errors.NotFound("There is no such credential.", code="credentials.not_found")
    return Secrets(
        **{
            field: vault.open(
                row[column], table=TABLE, row=credential_id, column=column
            ).decode()
            for field, column in COLUMNS.items()
            if row[column] is not None
        }
    )


def sealed(vault: Vault, credential_id: UUID, secrets: Secrets) -> dict[str, bytes]:
    """Return the envelopes of the secrets that there are, by column."""
    values = msgspec.structs.asdict(secrets)
    return {
        column: vault.seal(
            values[field].encode(), table=TABLE, row=credential_id, column=column
        )
        for field, column in COLUMNS.items()
        if values[field]
    }


def shown(key: PrivateKey | None) -> dict[str, object]:
    """Return what is stored of a private key in plain, by column."""
    if key is None:
        return {}
    return {
        "ssh_key_fingerprint": key.fingerprint,
        "ssh_key_type": key.key_type,
        "ssh_key_bits": key.bits,
        "ssh_key_comment": key.comment or None,
    }


def _kept(new: NewCredential) -> Secrets:
    """Return the secrets that the method uses and no other. Raise InvalidInput where one lacks."""
    given = new.secrets
    with_password = new.auth_method in (AuthMethod.PASSWORD, AuthMethod.BOTH)
    with_key = new.auth_method in (AuthMethod.SSH_KEY, AuthMethod.BOTH)
    if with_password and not given.password:
        raise lacking("password", new.auth_method)
    if with_key and not given.private_key:
        raise lacking("private_key", new.auth_method)
    return Secrets(
        password=given.password if with_password else None,
        private_key=given.private_key if with_key else None,
        passphrase=(given.passphrase or None) if with_key else None,
    )


def lacking(field: str, method: AuthMethod) -> errors.InvalidInput:
    """Return the refusal of a method without a secret that it uses."""
    return errors.InvalidInput(
        f"auth_method {method.value} needs {field}.",
        code="credentials.missing_secret",
        field=field,
    )


def _require_scope(db: Database, new: NewCredential, scope: accounts.Scope) -> None:
    if (new.scope is Scope.HOST) != (new.scope_id is not None):
        raise errors.InvalidInput(
            "scope host needs the host's id in scope_id, and scope system must have none.",
            code="credentials.invalid_scope",
        )
    if new.scope_id is not None:
        try:
            hosts.get(db, new.scope_id, scope=scope)
        except errors.NotFound:
            raise errors.InvalidInput(
                "scope_id names no host.", code="credentials.host_not_found"
            ) from None


def require_lines(name: str, username: str, description: str | None) -> None:
    """Raise InvalidInput (validation.field_invalid) where one of these is not what it can be."""
    for field, value in (("name", name), ("username", username)):
        if not 1 <= len(value) <= 256 or not value.isprintable():
            raise errors.InvalidInput(
                f"{field} must be one line of 1 to 256 printable characters.",
                code="validation.field_invalid",
                field=field,
            )
    if len(description or "") > 1024 or "\0" in (description or ""):
        raise errors.InvalidInput(
            "description must have at most 1024 characters.",
            code="validation.field_invalid",
            field="description",
        )
