"""One module per noun: Structs, handlers, OPERATIONS; they cannot see each other."""

from __future__ import annotations

from openwatch.web.api import (
    about,
    audit,
    auth,
    auth_policy,
    compliance,
    credentials,
    diagnostics,
    events,
    fleet,
    health,
    host_keys,
    hosts,
    mfa,
    posture,
    profile,
    roles,
    scan_requests,
    scans,
    sessions,
    system,
    tokens,
    users,
)
from openwatch.web.operations import Operation

ALL: tuple[Operation, ...] = (
    *health.OPERATIONS,
    *about.OPERATIONS,
    *auth.OPERATIONS,
    *sessions.OPERATIONS,
    *mfa.OPERATIONS,
    *profile.OPERATIONS,
    *auth_policy.OPERATIONS,
    *users.OPERATIONS,
    *roles.OPERATIONS,
    *tokens.OPERATIONS,
    *hosts.OPERATIONS,
    *scan_requests.OPERATIONS,
    *host_keys.OPERATIONS,
    *credentials.OPERATIONS,
    *scans.OPERATIONS,
    *compliance.OPERATIONS,
    *posture.OPERATIONS,
    *events.OPERATIONS,
    *fleet.OPERATIONS,
    *audit.OPERATIONS,
    *system.OPERATIONS,
    *diagnostics.OPERATIONS,
)
