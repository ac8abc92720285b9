"""What has changed on a host between two looks at it: pure.

What was not known before is no change, and what is not known now is none either: only two answers
are compared. Each change has a subject, which no other change of its code shares.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from openwatch.audit.codes import Code
from openwatch.clock import Instant
from openwatch.fleet.inventory import Category, port_of

Severity = Literal["info", "low", "medium", "high", "critical"]
Facts: TypeAlias = Mapping[Category, Any]
WARN_DAYS = 14  # before a password's end
PRIVILEGED = frozenset({"wheel", "sudo", "admin"})  # beside those that sudoers names
_LONGEST = 512  # characters of a subject
_RESTART = 10.0  # seconds by which an uptime may fall without a restart
_FAR = dt.date.max

SEVERITIES: Mapping[Code, Severity] = {
    Code.ACCOUNT_USER_LOCKED: "medium",
    Code.ACCOUNT_USER_UNLOCKED: "info",
    Code.ACCOUNT_USER_CREATED: "medium",
    Code.ACCOUNT_USER_DELETED: "medium",
    Code.ACCOUNT_USER_PRIVILEGED_GROUP_ADDED: "critical",
    Code.ACCOUNT_PASSWORD_EXPIRED: "high",
    Code.ACCOUNT_PASSWORD_EXPIRING: "low",
    Code.ACCOUNT_SSH_KEY_ADDED: "high",
    Code.ACCOUNT_SSH_KEY_REMOVED: "info",
    Code.SECURITY_FIREWALL_RULE_CHANGED: "high",
    Code.SECURITY_PORT_OPENED: "high",
    Code.SECURITY_PORT_CLOSED: "info",
    Code.SYSTEM_PACKAGE_INSTALLED: "info",
    Code.SYSTEM_PACKAGE_UPDATED: "info",
    Code.SYSTEM_PACKAGE_REMOVED: "medium",
    Code.SYSTEM_KERNEL_UPDATED: "medium",
    Code.SYSTEM_REBOOT_REQUIRED: "medium",
    Code.SYSTEM_REBOOT_COMPLETED: "info",
    Code.SYSTEM_CONFIG_FILE_CHANGED: "high",
    Code.SYSTEM_SERVICE_STARTED: "info",
    Code.SYSTEM_SERVICE_STOPPED: "info",
    Code.SYSTEM_SERVICE_FAILED: "high",
    Code.SYSTEM_FILESYSTEM_MOUNTED: "info",
    Code.SYSTEM_FILESYSTEM_UNMOUNTED: "medium",
}


class Change(msgspec.Struct, frozen=True):
    """One change; `subject` is what it happened to."""

    code: Code
    subject: str
    detail: Mapping[str, Any]

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return SEVERITIES[self.code]


def changes(
    before: Facts, after: Facts, then: Instant, now: Instant, warn_days: int = WARN_DAYS
) -> tuple[Change, ...]:
    """Return what changed between two looks, `then` and `now`."""
    found: list[Change] = []
    for category, differ in _DIFFERS.items():
        if category in before and category in after:
            found += differ(before[category], after[category])
    found += _privileges(before, after)
    found += _expiries(before, after, then, now, warn_days)
    unique = {(one.code, one.subject): one for one in found}
    return tuple(unique.values())


def _change(code: Code, subject: str, **detail: Any) -> Change:
    if len(subject) > _LONGEST:
        digest = hashlib.sha256(subject.encode("utf-8", "replace")).hexdigest()
        subject = f"{subject[: _LONGEST - 80]}... {digest}"
    return Change(code, subject, detail)


def _users(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(after.keys() - before.keys()):
        yield _change(Code.ACCOUNT_USER_CREATED, name, user=name, uid=after[name]["uid"])
    for name in sorted(before.keys() - after.keys()):
        yield _change(Code.ACCOUNT_USER_DELETED, name, user=name)


def _passwords(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(before.keys() & after.keys()):
        was, is_now = before[name]["locked"], after[name]["locked"]
        if is_now and not was:
            yield _change(Code.ACCOUNT_USER_LOCKED, name, user=name)
        elif was and not is_now:
            yield _change(Code.ACCOUNT_USER_UNLOCKED, name, user=name)


def _ssh_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for user in sorted(before.keys() | after.keys()):
        old, new = before.get(user, {}), after.get(user, {})
        for code, gone in (
            (Code.ACCOUNT_SSH_KEY_ADDED, new.keys() - old.keys()),
            (Code.ACCOUNT_SSH_KEY_REMOVED, old.keys() - new.keys()),
        ):
            for fingerprint in sorted(gone):
                kind = (new if fingerprint in new else old)[fingerprint]
                subject = f"{user} {fingerprint}"
                yield _change(code, subject, user=user, fingerprint=fingerprint, type=kind)


def _ports(before: list[Any], after: list[Any]) -> Iterator[Change]:
    old = {port_of(one): one for one in before if not one.get("passing")}
    new = {port_of(one): one for one in after if not one.get("passing")}
    passing = {port_of(one) for one in after if one.get("passing")}
    for code, ports in (
        (Code.SECURITY_PORT_OPENED, {name: new[name] for name in new.keys() - old.keys()}),
        (
            Code.SECURITY_PORT_CLOSED,
            {name: old[name] for name in old.keys() - new.keys() - passing},
        ),
    ):
        for name, one in sorted(ports.items()):
            yield _change(
                code, name, port=one["port"], protocol=one["protocol"], address=one["address"]
            )


def _firewall(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    if before["digest"] != after["digest"]:
        yield _change(
            Code.SECURITY_FIREWALL_RULE_CHANGED,
            "",
            prior_hash=before["digest"] or "",
            current_hash=after["digest"] or "",
            prior_rules=before["rules"],
            current_rules=after["rules"],
            engine=after["engine"],
        )


def _packages(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Compare by name and architecture, of which several versions may be installed beside another."""
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, []), after.get(key, [])
        if old == new:
            continue
        name, _, architecture = key.rpartition(".")
        if len(old) == len(new) == 1:
            yield _change(
                Code.SYSTEM_PACKAGE_UPDATED,
                key,
                name=name,
                architecture=architecture,
                prior=old[0],
                current=new[0],
            )
            continue
        for code, versions in (
            (Code.SYSTEM_PACKAGE_INSTALLED, sorted(set(new) - set(old))),
            (Code.SYSTEM_PACKAGE_REMOVED, sorted(set(old) - set(new))),
        ):
            for version in versions:
                subject = f"{key} {version}"
                yield _change(
                    code, subject, name=name, architecture=architecture, version=version
                )


def _services(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for unit in sorted(before.keys() | after.keys()):
        was, is_now = before.get(unit, "inactive"), after.get(unit, "inactive")
        if was == is_now:
            continue
        if is_now == "failed":
            yield _change(Code.SYSTEM_SERVICE_FAILED, unit, unit=unit)
        elif is_now == "active":
            yield _change(Code.SYSTEM_SERVICE_STARTED, unit, unit=unit)
        elif was == "active":
            yield _change(Code.SYSTEM_SERVICE_STOPPED, unit, unit=unit)


def _mounts(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is not None and old != new:
            yield _change(Code.SYSTEM_FILESYSTEM_UNMOUNTED, path, mountpoint=path, source=old)
        if new is not None and old != new:
            yield _change(Code.SYSTEM_FILESYSTEM_MOUNTED, path, mountpoint=path, source=new)


def _config(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path, ""), after.get(path, "")
        if old is not None and new is not None and old != new:
            yield _change(
                Code.SYSTEM_CONFIG_FILE_CHANGED,
                path,
                path=path,
                prior_hash=old,
                current_hash=new,
            )


def _kernel(before: str, after: str) -> Iterator[Change]:
    if before != after:
        yield _change(Code.SYSTEM_KERNEL_UPDATED, "", prior=before, current=after)


def _reboot(before: bool, after: bool) -> Iterator[Change]:
    if after and not before:
        yield _change(Code.SYSTEM_REBOOT_REQUIRED, "")


def _uptime(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    if before["boot_id"] and after["boot_id"]:
        is_restarted = before["boot_id"] != after["boot_id"]
    else:
        is_restarted = before["seconds"] - after["seconds"] > _RESTART
    if is_restarted:
        yield _change(Code.SYSTEM_REBOOT_COMPLETED, "", uptime_seconds=after["seconds"])


def _privileges(before: Facts, after: Facts) -> Iterator[Change]:
    """Compare who may use sudo by their groups: the members change, or what sudoers names."""
    if Category.GROUPS not in before or Category.GROUPS not in after:
        return
    now_named = frozenset(after.get(Category.SUDO_GROUPS, ()))
    named = frozenset(before.get(Category.SUDO_GROUPS, now_named))
    old, new = before[Category.GROUPS], after[Category.GROUPS]
    for group in sorted(PRIVILEGED | now_named):
        was = old.get(group, ()) if group in PRIVILEGED | named else ()
        for user in sorted(set(new.get(group, ())) - set(was)):
            yield _change(
                Code.ACCOUNT_USER_PRIVILEGED_GROUP_ADDED,
                f"{user} {group}",
                user=user,
                group=group,
            )


def _expiries(
    before: Facts, after: Facts, then: Instant, now: Instant, warn_days: int
) -> Iterator[Change]:
    """Tell which passwords have come to their end, or close to it: days pass on their own."""
    if Category.PASSWORDS not in before or Category.PASSWORDS not in after:
        return
    old = before[Category.PASSWORDS]
    for name, password in sorted(after[Category.PASSWORDS].items()):
        if password["locked"]:
            continue
        end, was = _end(password), _end(old.get(name, {}))
        left, left_then = (end - now.date()).days, (was - then.date()).days
        if left <= 0:
            if left_then > 0:
                yield _change(Code.ACCOUNT_PASSWORD_EXPIRED, name, user=name)
        elif left <= warn_days < left_then:
            yield _change(Code.ACCOUNT_PASSWORD_EXPIRING, name, user=name, days_remaining=left)


def _end(password: Mapping[str, Any]) -> dt.date:
    text = password.get("password_expires_at")
    return dt.date.fromisoformat(text) if text else _FAR


_DIFFERS: Mapping[Category, Any] = {
    Category.USERS: _users,
    Category.PASSWORDS: _passwords,
    Category.SSH_KEYS: _ssh_keys,
    Category.LISTENING_PORTS: _ports,
    Category.FIREWALL: _firewall,
    Category.PACKAGES: _packages,
    Category.SERVICES: _services,
    Category.MOUNTS: _mounts,
    Category.CONFIG: _config,
    Category.KERNEL: _kernel,
    Category.REBOOT: _reboot,
    Category.UPTIME: _uptime,
}
