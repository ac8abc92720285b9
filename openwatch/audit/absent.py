"""The codes that nothing emits, each with the reason: a code is emitted somewhere, or stands here."""

from __future__ import annotations

from collections.abc import Mapping

from openwatch.audit.codes import Code

_LEDGER = "the ledger is the record: each finding says since when, and what it was before"
_METRICS = "happens all the time; counted in the metrics"
_NO_LICENSE = "nothing is behind a licence, so none is installed, checked or refused"
_LATER = "the feature it belongs to does not exist yet: "
_ALERTS = _LATER + "alerts and their delivery"
_EXCEPTIONS = _LATER + "exceptions"
_REMEDIATION = _LATER + "remediation"
_REPORTS = _LATER + "reports"
_LOGS = (
    "stands in a host's logs, which are not read: a look at a host compares what it is, and how much"
    " somebody writes into a log must not decide what a look costs"
)
_SSO = _LATER + "single sign-on"
_NO_POLICY_FILES = "policies are settings in the database and rules on disk, not signed files"
_NO_TEMPLATES = "the contract has no operation for scan templates or sessions of several hosts"
_NO_BASELINE = "any instant can be compared with any other, so no baseline is set"
_NO_PLUGINS = "the program loads no foreign code"
_NO_WEBHOOKS = (
    "webhooks are notification channels and forwarding, which have words of their own"
)

ABSENT: Mapping[Code, str] = {
    Code.FINDING_PERSISTED: _LEDGER,
    Code.COMPLIANCE_STATE_CHANGED: _LEDGER,
    Code.COMPLIANCE_SNAPSHOT_CREATED: _LEDGER,
    Code.WORKER_LOOP_TICK: _METRICS,
    Code.SCHEDULER_TICK_DISPATCHED: _METRICS,
    Code.HOST_CONNECTIVITY_CHECKED: _LATER
    + "checking hosts between scans; then on a change only",
    Code.HOST_PLATFORM_DETECTED: "a scan's own record has the facts it found",
    Code.HOST_INTELLIGENCE_REFRESHED: _METRICS
    + "; what a look at a host found changed is told",
    Code.ACCOUNT_SUDO_FAILURE_THRESHOLD: _LOGS,
    Code.SECURITY_LOGIN_NEW_SOURCE_IP: _LOGS,
    Code.SECURITY_LOGIN_FAILED_THRESHOLD: _LOGS,
    Code.SECURITY_SELINUX_DENIED: _LOGS,
    Code.SECURITY_APPARMOR_DENIED: _LOGS,
    Code.SCAN_SESSION_CANCELLED: "scans are given up one by one, and each of them says so",
    Code.SCAN_TEMPLATE_CREATED: _NO_TEMPLATES,
    Code.SCAN_TEMPLATE_UPDATED: _NO_TEMPLATES,
    Code.SCAN_TEMPLATE_DELETED: _NO_TEMPLATES,
    Code.WRITER_APPLY_FAILED: "a scan that could not be recorded has failed, and says why",
    Code.COMPLIANCE_EXCEPTION_REQUESTED: _EXCEPTIONS,
    Code.COMPLIANCE_EXCEPTION_APPROVED: _EXCEPTIONS,
    Code.COMPLIANCE_EXCEPTION_REJECTED: _EXCEPTIONS,
    Code.COMPLIANCE_EXCEPTION_REVOKED: _EXCEPTIONS,
    Code.COMPLIANCE_EXCEPTION_EXPIRED: _EXCEPTIONS,
    Code.COMPLIANCE_BASELINE_ESTABLISHED: _NO_BASELINE,
    Code.COMPLIANCE_BASELINE_CLEARED: _NO_BASELINE,
    Code.COMPLIANCE_DRIFT_DETECTED: _ALERTS,
    Code.ALERT_CREATED: _ALERTS,
    Code.ALERT_ACKNOWLEDGED: _ALERTS,
    Code.ALERT_SILENCED: _ALERTS,
    Code.ALERT_UNSILENCED_AUTO: _ALERTS,
    Code.ALERT_RESOLVED: _ALERTS,
    Code.ALERT_DISMISSED: _ALERTS,
    Code.ALERT_THRESHOLD_CHANGED: _ALERTS,
    Code.NOTIFICATION_DISPATCHED: _ALERTS,
    Code.NOTIFICATION_DELIVERY_FAILED: _ALERTS,
    Code.NOTIFICATION_DELIVERY_SUCCEEDED: _ALERTS,
    Code.NOTIFICATION_CHANNEL_CREATED: _ALERTS,
    Code.NOTIFICATION_CHANNEL_UPDATED: _ALERTS,
    Code.NOTIFICATION_CHANNEL_DELETED: _ALERTS,
    Code.LICENSE_INSTALLED: _NO_LICENSE,
    Code.LICENSE_INVALID: _NO_LICENSE,
    Code.LICENSE_EXPIRING_SOON: _NO_LICENSE,
    Code.LICENSE_EXPIRED: _NO_LICENSE,
    Code.LICENSE_FEATURE_CHECK_DENIED: _NO_LICENSE,
    Code.LICENSE_CLOCK_ROLLBACK_DETECTED: _NO_LICENSE,
    Code.LICENSE_TAMPERED: _NO_LICENSE,
    Code.POLICY_LOADED: _NO_POLICY_FILES,
    Code.POLICY_INVALID: _NO_POLICY_FILES,
    Code.REMEDIATION_REQUESTED: _REMEDIATION,
    Code.REMEDIATION_APPROVED: _REMEDIATION,
    Code.REMEDIATION_EXECUTED: _REMEDIATION,
    Code.REMEDIATION_ROLLED_BACK: _REMEDIATION,
    Code.REPORT_GENERATED: _REPORTS,
    Code.REPORT_SCHEDULE_CREATED: _REPORTS,
    Code.REPORT_SCHEDULE_DELETED: _REPORTS,
    Code.REPORT_SCHEDULE_TOGGLED: _REPORTS,
    Code.INTEGRATION_WEBHOOK_DELIVERED: _NO_WEBHOOKS,
    Code.INTEGRATION_WEBHOOK_FAILED: _NO_WEBHOOKS,
    Code.INTEGRATION_WEBHOOK_SUBSCRIBED: _NO_WEBHOOKS,
    Code.INTEGRATION_WEBHOOK_UNSUBSCRIBED: _NO_WEBHOOKS,
    Code.INTEGRATION_PLUGIN_INSTALLED: _NO_PLUGINS,
    Code.SYSTEM_HEALTH_DEGRADED: _ALERTS + "; /readyz says it meanwhile",
    Code.SYSTEM_HEALTH_RECOVERED: _ALERTS + "; /readyz says it meanwhile",
    Code.SCHEDULER_STARTUP_FAILED: "the clock needs nothing to start; what fails of it later is logged",
    Code.SCHEDULER_SCHEDULE_UPDATED: (
        "follows from every scan; the setting that decides it is in the trail when it changes"
    ),
    Code.SCHEDULER_POLICY_RELOAD_REJECTED: _NO_POLICY_FILES,
    Code.SCHEDULER_POLICY_REVOKED_KEY_REJECTED: _NO_POLICY_FILES,
    Code.SCHEDULER_POLICY_CLAMPED: _NO_POLICY_FILES,
    Code.SCHEDULER_JOB_HMAC_REJECTED: "jobs are fenced by the database's own rows, not by a seal",
    Code.ADMIN_SYSTEM_SETTING_CHANGED: "said by system.config.changed, with the old and new value",
    Code.ADMIN_RETENTION_POLICY_CHANGED: (
        "how long things are kept is no setting yet; signed checkpoints say what was removed"
    ),
    Code.ADMIN_SSO_PROVIDER_CREATED: _SSO,
    Code.ADMIN_SSO_PROVIDER_UPDATED: _SSO,
    Code.ADMIN_SSO_PROVIDER_DELETED: _SSO,
}
