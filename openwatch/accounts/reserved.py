"""Permissions that no operation asks for yet, and the feature that each of them waits for.

They can be granted already, so that roles need no change when the feature comes. Whoever makes the
operation takes the line away; a test holds that each permission is either asked for or named here.
"""

from __future__ import annotations

from openwatch.accounts.permissions import Permission

_SELF = "nothing: one's own account needs a sign-in alone; it is granted as clients know it"
_ASK = "asking a host on demand"
_TEMPLATES = "templates of scans"
_BASELINES = "baselines"
_EXCEPTIONS = "exceptions"
_ALERTS = "alerts"
_NOTIFICATIONS = "channels of notification"
_LICENCE = (
    "nothing: everything is available without a licence; it is granted as clients know it"
)
_POLICIES = "policy files"
_REMEDIATION = "remediation"
_INTEGRATIONS = "integrations"

RESERVED: dict[Permission, str] = {
    Permission.AUTH_READ: _SELF,
    Permission.AUTH_WRITE: _SELF,
    Permission.HOST_CONNECTIVITY_CHECK: _ASK,
    Permission.HOST_INTELLIGENCE_REFRESH: _ASK,
    Permission.SCAN_TEMPLATE_READ: _TEMPLATES,
    Permission.SCAN_TEMPLATE_WRITE: _TEMPLATES,
    Permission.SCAN_TEMPLATE_DELETE: _TEMPLATES,
    Permission.BASELINE_READ: _BASELINES,
    Permission.BASELINE_WRITE: _BASELINES,
    Permission.BASELINE_DELETE: _BASELINES,
    Permission.EXCEPTION_READ: _EXCEPTIONS,
    Permission.EXCEPTION_REQUEST: _EXCEPTIONS,
    Permission.EXCEPTION_COMMENT: _EXCEPTIONS,
    Permission.EXCEPTION_APPROVE: _EXCEPTIONS,
    Permission.EXCEPTION_REVOKE: _EXCEPTIONS,
    Permission.ALERT_READ: _ALERTS,
    Permission.ALERT_ACKNOWLEDGE: _ALERTS,
    Permission.ALERT_RESOLVE: _ALERTS,
    Permission.ALERT_WRITE: _ALERTS,
    Permission.NOTIFICATION_READ: _NOTIFICATIONS,
    Permission.NOTIFICATION_WRITE: _NOTIFICATIONS,
    Permission.NOTIFICATION_DELETE: _NOTIFICATIONS,
    Permission.NOTIFICATION_TEST: _NOTIFICATIONS,
    Permission.LICENSE_READ: _LICENCE,
    Permission.LICENSE_INSTALL: _LICENCE,
    Permission.LICENSE_REVOKE: _LICENCE,
    Permission.POLICY_RELOAD: _POLICIES,
    Permission.POLICY_INSTALL: _POLICIES,
    Permission.REMEDIATION_READ: _REMEDIATION,
    Permission.REMEDIATION_REQUEST: _REMEDIATION,
    Permission.REMEDIATION_APPROVE: _REMEDIATION,
    Permission.REMEDIATION_ROLLBACK: _REMEDIATION,
    Permission.INTEGRATION_READ: _INTEGRATIONS,
    Permission.INTEGRATION_WRITE: _INTEGRATIONS,
    Permission.INTEGRATION_EXECUTE: _INTEGRATIONS,
    Permission.ADMIN_RETENTION_POLICY: "the setting of how long what was recorded is kept",
    Permission.ADMIN_SSO_PROVIDER: "single sign-on",
    Permission.ADMIN_SYSTEM_SETTING: "settings of the whole installation",
}
