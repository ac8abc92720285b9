"""Every permission, as `resource:action`, and the built-in roles that hold them."""

from __future__ import annotations

import enum


class Permission(enum.StrEnum):
    """What an operation asks of its caller. Ids are those of the reference system."""

    AUTH_READ = "auth:read"
    AUTH_WRITE = "auth:write"
    USER_READ = "user:read"
    USER_WRITE = "user:write"
    USER_DELETE = "user:delete"
    HOST_READ = "host:read"
    HOST_WRITE = "host:write"
    HOST_DELETE = "host:delete"
    HOST_CONNECTIVITY_CHECK = "host:connectivity_check"
    HOST_INTELLIGENCE_REFRESH = "host:intelligence_refresh"
    CREDENTIAL_READ = "credential:read"
    CREDENTIAL_WRITE = "credential:write"
    CREDENTIAL_DELETE = "credential:delete"
    SCAN_READ = "scan:read"
    SCAN_EXECUTE = "scan:execute"
    SCAN_CANCEL = "scan:cancel"
    SCAN_TEMPLATE_READ = "scan_template:read"
    SCAN_TEMPLATE_WRITE = "scan_template:write"
    SCAN_TEMPLATE_DELETE = "scan_template:delete"
    COMPLIANCE_READ = "compliance:read"
    BASELINE_READ = "baseline:read"
    BASELINE_WRITE = "baseline:write"
    BASELINE_DELETE = "baseline:delete"
    EXCEPTION_READ = "exception:read"
    EXCEPTION_REQUEST = "exception:request"
    EXCEPTION_COMMENT = "exception:comment"
    EXCEPTION_APPROVE = "exception:approve"
    EXCEPTION_REVOKE = "exception:revoke"
    ALERT_READ = "alert:read"
    ALERT_ACKNOWLEDGE = "alert:acknowledge"
    ALERT_RESOLVE = "alert:resolve"
    ALERT_WRITE = "alert:write"
    NOTIFICATION_READ = "notification:read"
    NOTIFICATION_WRITE = "notification:write"
    NOTIFICATION_DELETE = "notification:delete"
    NOTIFICATION_TEST = "notification:test"
    TOKEN_READ = "token:read"  # noqa: S105
    TOKEN_WRITE = "token:write"  # noqa: S105
    TOKEN_DELETE = "token:delete"  # noqa: S105
    LICENSE_READ = "license:read"
    LICENSE_INSTALL = "license:install"
    LICENSE_REVOKE = "license:revoke"
    POLICY_READ = "policy:read"
    POLICY_RELOAD = "policy:reload"
    POLICY_INSTALL = "policy:install"
    REMEDIATION_READ = "remediation:read"
    REMEDIATION_REQUEST = "remediation:request"
    REMEDIATION_APPROVE = "remediation:approve"
    REMEDIATION_EXECUTE = "remediation:execute"
    REMEDIATION_ROLLBACK = "remediation:rollback"
    INTEGRATION_READ = "integration:read"
    INTEGRATION_WRITE = "integration:write"
    INTEGRATION_EXECUTE = "integration:execute"
    AUDIT_READ = "audit:read"
    AUDIT_EXPORT = "audit:export"
    SYSTEM_READ = "system:read"
    SYSTEM_CONFIG_WRITE = "system:config_write"
    SYSTEM_AUTH_POLICY_READ = "system:auth_policy_read"
    SYSTEM_AUTH_POLICY_WRITE = "system:auth_policy_write"
    ROLE_READ = "role:read"
    ROLE_WRITE = "role:write"
    ROLE_ASSIGN = "role:assign"
    ADMIN_USER_MANAGE = "admin:user_manage"
    ADMIN_ROLE_MANAGE = "admin:role_manage"
    ADMIN_RETENTION_POLICY = "admin:retention_policy"
    ADMIN_SSO_PROVIDER = "admin:sso_provider"
    ADMIN_SYSTEM_SETTING = "admin:system_setting"


# What cannot be taken back, or opens a door: shown to whoever builds a role.
DANGEROUS = frozenset(
    {
        Permission.USER_DELETE,
        Permission.HOST_DELETE,
        Permission.CREDENTIAL_DELETE,
        Permission.SCAN_TEMPLATE_DELETE,
        Permission.BASELINE_DELETE,
        Permission.EXCEPTION_REVOKE,
        Permission.NOTIFICATION_DELETE,
        Permission.TOKEN_DELETE,
        Permission.LICENSE_INSTALL,
        Permission.LICENSE_REVOKE,
        Permission.POLICY_INSTALL,
        Permission.REMEDIATION_EXECUTE,
        Permission.REMEDIATION_ROLLBACK,
        Permission.SYSTEM_CONFIG_WRITE,
        Permission.SYSTEM_AUTH_POLICY_WRITE,
        Permission.ROLE_WRITE,
        Permission.ROLE_ASSIGN,
        Permission.ADMIN_USER_MANAGE,
        Permission.ADMIN_ROLE_MANAGE,
        Permission.ADMIN_RETENTION_POLICY,
        Permission.ADMIN_SSO_PROVIDER,
        Permission.ADMIN_SYSTEM_SETTING,
    }
)

_READ = frozenset(
    {
        Permission.AUTH_READ,
        Permission.HOST_READ,
        Permission.SCAN_READ,
        Permission.SCAN_TEMPLATE_READ,
        Permission.COMPLIANCE_READ,
        Permission.BASELINE_READ,
        Permission.EXCEPTION_READ,
        Permission.ALERT_READ,
        Permission.NOTIFICATION_READ,
        Permission.LICENSE_READ,
        Permission.POLICY_READ,
        Permission.REMEDIATION_READ,
        Permission.INTEGRATION_READ,
        Permission.AUDIT_READ,
        Permission.SYSTEM_READ,
    }
)
_AUDITOR = _READ | {
    Permission.AUTH_WRITE,
    Permission.EXCEPTION_REQUEST,
    Permission.EXCEPTION_COMMENT,
    Permission.EXCEPTION_APPROVE,
    Permission.AUDIT_EXPORT,
}
_OPS_LEAD = _READ | {
    Permission.AUTH_WRITE,
    Permission.HOST_WRITE,
    Permission.HOST_CONNECTIVITY_CHECK,
    Permission.HOST_INTELLIGENCE_REFRESH,
    Permission.CREDENTIAL_READ,
    Permission.SCAN_EXECUTE,
    Permission.SCAN_CANCEL,
    Permission.SCAN_TEMPLATE_WRITE,
    Permission.BASELINE_WRITE,
    Permission.EXCEPTION_REQUEST,
    Permission.EXCEPTION_COMMENT,
    Permission.ALERT_ACKNOWLEDGE,
    Permission.ALERT_RESOLVE,
    Permission.NOTIFICATION_TEST,
    Permission.REMEDIATION_REQUEST,
    Permission.REMEDIATION_EXECUTE,
    Permission.REMEDIATION_ROLLBACK,
}
_NOT_SECURITY_ADMIN = {
    Permission.USER_DELETE,
    Permission.LICENSE_REVOKE,
    Permission.SYSTEM_CONFIG_WRITE,
    Permission.ROLE_READ,
    Permission.ROLE_WRITE,
    Permission.ROLE_ASSIGN,
    Permission.ADMIN_USER_MANAGE,
    Permission.ADMIN_ROLE_MANAGE,
    Permission.ADMIN_RETENTION_POLICY,
    Permission.ADMIN_SSO_PROVIDER,
    Permission.ADMIN_SYSTEM_SETTING,
}

BUILT_IN: dict[str, tuple[str, frozenset[Permission]]] = {
    # That a viewer may list the roles and an auditor may not is the contract's.
    "viewer": ("Reads everything that is not secret", _READ | {Permission.ROLE_READ}),
    "auditor": ("Reads everything, decides on exceptions, exports the audit trail", _AUDITOR),
    "ops_lead": ("Runs daily operations: hosts, scans, remediation", _OPS_LEAD),
    "security_admin": (
        "Runs all security operations",
        frozenset(Permission) - _NOT_SECURITY_ADMIN,
    ),
    "admin": ("Does everything", frozenset(Permission)),
}
