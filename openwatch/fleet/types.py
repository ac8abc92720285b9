"""A host, a credential, a host key as stored."""

from __future__ import annotations

import enum
from uuid import UUID

import msgspec

from openwatch.clock import Instant


class Transport(enum.StrEnum):
    """How a host is reached."""

    SSH = "ssh"
    LOCAL = "local"  # this machine itself; only where scan.allow_local, and never by the API


class Host(msgspec.Struct, frozen=True):
    """A host that has not been deleted. `key` names it inside the database."""

    id: UUID
    key: int
    hostname: str
    ip_address: str
    port: int
    transport: Transport
    display_name: str | None
    description: str | None
    environment: str
    tags: tuple[str, ...]
    username: str | None
    jump_hosts: tuple[UUID, ...]  # the way there, the nearest first
    login_methods: tuple[str, ...]  # what it accepted last time, in order
    os_family: str | None
    os_version: str | None
    architecture: str | None
    platform_identifier: str | None
    os_discovered_at: Instant | None
    created_by: UUID | None
    created_at: Instant
    updated_at: Instant


class Scope(enum.StrEnum):
    """What a credential is for."""

    SYSTEM = "system"  # the default of every host that has none of its own
    HOST = "host"


class AuthMethod(enum.StrEnum):
    """Which secrets a credential holds."""

    SSH_KEY = "ssh_key"
    PASSWORD = "password"  # noqa: S105 - the name of a method
    BOTH = "both"


class Secrets(msgspec.Struct, frozen=True):
    """What is sealed. Its repr shows nothing."""

    password: str | None = None
    private_key: str | None = None
    passphrase: str | None = None

    def __repr__(self) -> str:
        """Show nothing."""
        return "Secrets(***)"


class Credential(msgspec.Struct, frozen=True):
    """What may be shown of a credential."""

    id: UUID
    scope: Scope
    scope_id: UUID | None
    name: str
    description: str | None
    username: str
    auth_method: AuthMethod
    ssh_key_fingerprint: str | None
    ssh_key_type: str | None
    ssh_key_bits: int | None
    ssh_key_comment: str | None
    is_default: bool
    is_active: bool
    created_by: UUID | None
    created_at: Instant
    updated_at: Instant
    sealed_with: tuple[str, ...] = ()  # the ids of the credential keys that open its secrets


class KeyState(enum.StrEnum):
    """What was decided about a host key."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    ROTATED = "rotated"  # approved once; another of its type has taken its place


class StoredHostKey(msgspec.Struct, frozen=True):
    """A public key that a host has shown."""

    id: UUID
    key_type: str
    public_key: bytes
    fingerprint: str
    state: KeyState
    first_seen: Instant
    last_seen: Instant
    decided_at: Instant | None
    decided_by: str | None
