"""API tokens: what programs show. Only the SHA-256 is stored; the token is seen once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

from openwatch import errors, ids
from openwatch.accounts import addresses, grants
from openwatch.accounts.addresses import Network
from openwatch.accounts.grants import Author
from openwatch.accounts.principals import known, refusal, require_known
from openwatch.accounts.sessions import digest, new_token
from openwatch.accounts.types import Principal, Via
from openwatch.accounts.users import acceptable_text
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Actor, Resource
from openwatch.clock import Instant
from openwatch.db import Database, load, pages
from openwatch.db.pages import WHOLE, Column, Listing, Page
from openwatch.db.postgres import Row

PREFIX = "owk_"
LISTING = Listing(
    sorts=(Column("created_at", "timestamptz"), Column("name")),
    searched=("name", "prefix", "role_id"),
    filters=(Column("role_id"), Column("created_by", "uuid")),
)
_SHOWN = 12  # characters of a token that say which one it is
_MOST_ADDRESSES = 64
_NOTED = dt.timedelta(minutes=1)  # the use of a token is written at most this often
_QUERIES = load("openwatch.accounts", "access.sql")


class ApiToken(msgspec.Struct, frozen=True):
    """A token without itself: `prefix` is its beginning.

    It has the permissions of a role or a list of its own, from the addresses that are named, or
    from anywhere where none are.
    """

    id: UUID
    name: str
    prefix: str
    role_id: str | None
    permissions: tuple[str, ...] | None
    allowed_addresses: tuple[str, ...]
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    revoked_at: Instant | None
    created_by: UUID


class NewToken(msgspec.Struct, frozen=True):
    """What a token shall be: exactly one of `role_id` and `permissions` is given."""

    name: str
    role_id: str | None = None
    permissions: tuple[str, ...] | None = None
    expires_at: Instant | None = None
    allowed_addresses: tuple[str, ...] = ()


def listed(
    db: Database, page: Page = WHOLE
) -> tuple[tuple[ApiToken, ...], tuple[str, str] | None]:
    """Return a page of the tokens, the newest first, and where the next one begins."""
    found = pages.fetch(db, _QUERIES["tokens"], LISTING, page)
    return msgspec.convert(found.rows, tuple[ApiToken, ...]), found.last


def create(db: Database, author: Author, new: NewToken, now: Instant) -> tuple[str, ApiToken]:
    """Make a token that its author owns, and return it, which is the only time, and what it is.

    One that is made by means of another token ends with it, and is bound to its addresses and its
    end. Raise InvalidInput (tokens.invalid, users.unknown_permission), Forbidden
    (authz.role_exceeds_grant).
    """
    name = _name(new.name)
    networks = _networks(new.allowed_addresses)
    if (new.role_id is None) == (new.permissions is None):
        raise _invalid("Give a token either a role or permissions.")
    if new.expires_at is not None and new.expires_at <= now:
        raise _invalid("expires_at must be in the future.")
    token, token_id = PREFIX + new_token(), ids.new_id()
    with db.atomic():
        permissions = _granted(db, author, new)
        if author.user_id is None or not db.value(_QUERIES["hold_owner"], id=author.user_id):
            raise _invalid("Only a user who may sign in can own a token.")
        if author.token_id is not None:
            networks = _require_within(db, author.token_id, new, networks, now)
        db.run(
            _QUERIES["create_token"],
            id=token_id,
            owner_id=author.user_id,
            parent_id=author.token_id,
            name=name,
            prefix=token[:_SHOWN],
            token_hash=digest(token),
            role_id=new.role_id,
            permissions=permissions,
            allowed_addresses=[str(network) for network in networks],
            now=now,
            expires_at=new.expires_at,
        )
        made = msgspec.convert(db.row(_QUERIES["token"], id=token_id), ApiToken)
        trail.record(
            db,
            Code.AUTH_API_KEY_CREATED,
            actor=author.actor,
            resource=Resource("api_key", str(token_id)),
            name=name,
            role_id=made.role_id,
            permissions=made.permissions,
            expires_at=made.expires_at,
            allowed_addresses=made.allowed_addresses,
        )
    return token, made


def principal(db: Database, token: str, address: str, now: Instant) -> Principal:
    """Return who shows a token: what it and its owner both may do at this moment.

    Raise Unauthenticated (auth.session_invalid) where it is unknown, revoked or expired, comes
    from an address that it is not for, or its owner is disabled or gone. The answer does not
    tell which of these; the trail does.
    """
    row = db.row(_QUERIES["principal_of_token"], token_hash=digest(token))
    if row is None:
        raise refusal("invalid_api_token")
    why = _why_not(row, address, now)
    if why:
        raise refusal("invalid_api_token", api_key_id=str(row["id"]), why=why)
    if row["last_used_at"] is None or row["last_used_at"] <= now - _NOTED:
        db.run(_QUERIES["note_use"], id=row["id"], now=now, before=now - _NOTED)
    return Principal(
        via=Via.TOKEN,
        user_id=row["owner_id"],
        username=row["username"],
        roles=() if row["role_id"] is None else (row["role_id"],),
        permissions=known(row["granted"]) & known(row["owned"]),
        token_id=row["id"],
        token_name=row["name"],
    )


def revoke(db: Database, token_id: UUID, now: Instant, actor: Actor) -> None:
    """End a token, and those made by means of it; one that is unknown or has ended is no error."""
    with db.atomic():
        _record(db, db.rows(_QUERIES["revoke_token"], id=token_id, now=now), actor, "revoked")


def revoke_all(
    db: Database, user_id: UUID, now: Instant, *, actor: Actor, reason: str = "owner"
) -> None:
    """End every token of a user."""
    with db.atomic():
        ended = db.rows(_QUERIES["revoke_tokens_of_user"], user_id=user_id, now=now)
        _record(db, ended, actor, reason)


def revoke_of_role(db: Database, role: str, now: Instant, actor: Actor) -> None:
    """End every token that has a role's permissions."""
    with db.atomic():
        ended = db.rows(_QUERIES["revoke_tokens_of_role"], role_id=role, now=now)
        _record(db, ended, actor, "role_removed")


def _granted(db: Database, author: Author, new: NewToken) -> list[str] | None:
    """Return the permissions to store: None where they are a role's."""
    if new.permissions is not None:
        if not new.permissions:
            raise _invalid("permissions must name at least one.")
        require_known(new.permissions)
        grants.require_held(author, new.permissions, "The token")
        return sorted(set(new.permissions))
    found = db.row(_QUERIES["hold_role"], id=new.role_id)
    if found is None:
        raise _invalid(f"There is no role {new.role_id!r}.")
    grants.require_held(author, found["permissions"], f"The role {new.role_id}")
    return None


def _require_within(
    db: Database, parent: UUID, new: NewToken, networks: tuple[Network, ...], now: Instant
) -> tuple[Network, ...]:
    """Return the networks of a token that another one makes: that one's where none are named."""
    held = db.row(_QUERIES["hold_parent"], id=parent, now=now)
    if held is None:
        raise refusal("invalid_api_token")
    end = held["expires_at"]
    if end is not None and (new.expires_at is None or new.expires_at > end):
        raise _invalid("A token that another token makes cannot outlive it; set expires_at.")
    allowed = _networks(held["allowed_addresses"])
    if not networks:
        return allowed
    if allowed and not addresses.are_within(networks, allowed):
        raise _invalid("A token that another token makes is for that one's addresses at most.")
    return networks


def _why_not(row: Row, address: str, now: Instant) -> str:
    if row["revoked_at"] is not None:
        return "revoked"
    if row["expires_at"] is not None and row["expires_at"] <= now:
        return "expired"
    if row["disabled_at"] is not None or row["deleted_at"] is not None:
        return "owner_disabled"
    allowed = _networks(row["allowed_addresses"])
    return "" if not allowed or addresses.is_within(address, allowed) else "address"


def _networks(texts: Sequence[str]) -> tuple[Network, ...]:
    if len(texts) > _MOST_ADDRESSES:
        raise _invalid(f"allowed_addresses names more than {_MOST_ADDRESSES} networks.")
    try:
        return addresses.networks(texts)
    except ValueError as error:
        raise _invalid(f"allowed_addresses: {error}.") from None


def _name(name: str) -> str:
    try:
        return acceptable_text("name", name)
    except errors.InvalidInput as refused:
        raise _invalid(refused.message) from None


def _invalid(sentence: str) -> errors.InvalidInput:
    return errors.InvalidInput(sentence, code="tokens.invalid")


def _record(db: Database, ended: Iterable[Row], actor: Actor, reason: str) -> None:
    for row in ended:
        trail.record(
            db,
            Code.AUTH_API_KEY_REVOKED,
            actor=actor,
            resource=Resource("api_key", str(row["id"])),
            name=row["name"],
            reason=reason,
        )
