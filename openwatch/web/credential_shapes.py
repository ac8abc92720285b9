"""What is said of a credential over HTTP: its secrets go in and never come out."""

from __future__ import annotations

from uuid import UUID

import msgspec

from openwatch.audit.types import SecretText
from openwatch.clock import Instant
from openwatch.fleet.types import AuthMethod, Scope


class CredentialCreateRequest(msgspec.Struct, frozen=True):
    """A credential with its secrets: `scope_id` is the host's id, for scope host alone."""

    scope: Scope
    name: str
    username: str
    auth_method: AuthMethod
    scope_id: UUID | None = None
    description: str | None = None
    password: SecretText | None = None
    private_key: SecretText | None = None
    private_key_passphrase: SecretText | None = None
    is_default: bool = False

    def __repr__(self) -> str:
        """Show no secret."""
        return f"CredentialCreateRequest({self.name!r})"


class CredentialUpdateRequest(msgspec.Struct, frozen=True):
    """What changes; a field left out, and a secret that is null or empty, stays as it is.

    Secrets that the method does not use any more are removed. The scope cannot be changed.
    """

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    username: str | msgspec.UnsetType = msgspec.UNSET
    auth_method: AuthMethod | msgspec.UnsetType = msgspec.UNSET
    password: SecretText | None = None
    private_key: SecretText | None = None
    private_key_passphrase: SecretText | None = None
    is_default: bool | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        """Show no secret."""
        return "CredentialUpdateRequest(***)"


class CredentialCloneRequest(msgspec.Struct, frozen=True):
    """Where the copy belongs, and its name: that of the source with " (clone)" if not given."""

    scope: Scope
    scope_id: UUID | None = None
    name: str | None = None
    is_default: bool = False


class CredentialResponse(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A credential without its secrets; `is_readable`: the server holds the key that opens them."""

    id: UUID
    scope: Scope
    scope_id: UUID | None = None
    name: str
    description: str | None = None
    username: str
    auth_method: AuthMethod
    ssh_key_fingerprint: str | None = None
    ssh_key_type: str | None = None
    ssh_key_bits: int | None = None
    ssh_key_comment: str | None = None
    is_default: bool
    is_active: bool
    is_readable: bool
    created_by: UUID | None = None
    created_at: Instant
    updated_at: Instant
