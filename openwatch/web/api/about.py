"""What this installation can do: everything. No feature is behind a licence."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from openwatch.accounts.permissions import Permission
from openwatch.audit.types import SecretText
from openwatch.web.operations import Access, Context, Operation

_FEATURES = {
    "audit_export": "Export the audit trail",
    "audit_query": "Search the audit trail",
    "compliance_attestation": "Signed attestations of compliance",
    "compliance_check": "Scan hosts and judge them",
    "fido2_mfa": "Security keys as a second factor",
    "premium_diagnostics": "Further diagnostics",
    "priority_updates": "New rules as soon as they are there",
    "remediation_auto": "Let approved fixes run by themselves",
    "remediation_execution": "Fix what fails",
    "sso_saml": "Sign in through an identity provider",
    "structured_exceptions": "Exceptions that are asked for, approved and run out",
    "temporal_queries": "Ask what was true on any date",
}
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

Tier = Literal["free", "enterprise"]
LicenseStatus = Literal["active", "grace", "expired", "no_license", "invalid"]


class Capability(msgspec.Struct, frozen=True):
    """Something that can be done."""

    id: str
    tier: Tier
    available: bool
    description: str


class CapabilitiesResponse(msgspec.Struct, frozen=True):
    """All that can be done, by id."""

    tier: Tier
    status: LicenseStatus
    capabilities: tuple[Capability, ...]


class LicenseStateResponse(msgspec.Struct, frozen=True):
    """There is no licence, and every feature."""

    tier: Tier
    status: LicenseStatus
    features: tuple[str, ...]


class LicenseVerifyRequest(msgspec.Struct, frozen=True):
    """A licence of the kind that other systems want."""

    license_jwt: Annotated[SecretText, msgspec.Meta(min_length=1, max_length=65536)]

    def __repr__(self) -> str:
        """Show nothing of it."""
        return "LicenseVerifyRequest(***)"


class LicenseVerifyResponse(msgspec.Struct, frozen=True):
    """What a licence is worth here; it is never installed."""

    is_valid: bool
    verify_result: str
    tier: Tier | None
    features: tuple[str, ...] | None
    expires_at: str | None
    warnings: tuple[str, ...]


def capabilities(_ctx: Context) -> CapabilitiesResponse:
    """Return everything: it is all available."""
    return CapabilitiesResponse(
        tier="free",
        status="no_license",
        capabilities=tuple(
            Capability(name, "free", available=True, description=text)
            for name, text in sorted(_FEATURES.items())
        ),
    )


def license_state(ctx: Context) -> LicenseStateResponse:
    """Return that there is no licence and no need for one; the same to everybody."""
    ctx.headers["Cache-Control"] = "private, no-store"
    ctx.headers["Vary"] = "Cookie, Authorization"
    return LicenseStateResponse("free", "no_license", tuple(sorted(_FEATURES)))


def verify_license(_ctx: Context, body: LicenseVerifyRequest) -> LicenseVerifyResponse:
    """Say that nobody's signature counts here."""
    is_jwt = _JWT.fullmatch(body.license_jwt.strip())
    return LicenseVerifyResponse(
        is_valid=False,
        verify_result="signature_invalid" if is_jwt else "malformed_jwt",
        tier=None,
        features=None,
        expires_at=None,
        warnings=("No licence is needed: every feature is available.",),
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getCapabilities",
        method="GET",
        path="/api/v1/capabilities",
        permission=Access.PUBLIC,
        handler=capabilities,
        summary="Say what can be done: everything",
        returns=CapabilitiesResponse,
        tag="system",
        needs_database=False,
    ),
    Operation(
        id="getLicense",
        method="GET",
        path="/api/v1/license",
        permission=Access.PUBLIC,
        handler=license_state,
        summary="Say that no licence is needed",
        returns=LicenseStateResponse,
        tag="system",
        needs_database=False,
    ),
    Operation(
        id="postAdminLicenseVerify",
        method="POST",
        path="/api/v1/admin/license:verify",
        permission=Permission.SYSTEM_READ,
        handler=verify_license,
        summary="Look at a licence without installing it",
        body=LicenseVerifyRequest,
        returns=LicenseVerifyResponse,
        tag="system",
    ),
)
