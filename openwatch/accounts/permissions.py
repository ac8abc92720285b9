"""Every permission, as `resource:action`, and the built-in roles that hold them."""

from __future__ import annotations

import enum


class Permission(enum.StrEnum):
    """What an operation asks of its caller. Ids are those of the reference system."""

    HOST_READ = "host:read"
    HOST_WRITE = "host:write"
    HOST_DELETE = "host:delete"
    CREDENTIAL_READ = "credential:read"
    CREDENTIAL_WRITE = "credential:write"
    SCAN_READ = "scan:read"
    COMPLIANCE_READ = "compliance:read"


_READ = frozenset({Permission.HOST_READ, Permission.SCAN_READ, Permission.COMPLIANCE_READ})
_OPERATE = _READ | {Permission.HOST_WRITE, Permission.CREDENTIAL_READ}
_SECURE = _OPERATE | {Permission.HOST_DELETE, Permission.CREDENTIAL_WRITE}

BUILT_IN: dict[str, tuple[str, frozenset[Permission]]] = {
    "viewer": ("Reads everything that is not secret", _READ),
    "auditor": ("Reads everything, decides on exceptions, exports the audit trail", _READ),
    "ops_lead": ("Runs daily operations: hosts, scans", frozenset(_OPERATE)),
    "security_admin": ("Runs all security operations", frozenset(_SECURE)),
    "admin": ("Does everything", frozenset(Permission)),
}
