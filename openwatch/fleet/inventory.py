"""What is on a host beside its compliance: the words for it, and what of it can be compared.

A fact is JSON: text, numbers, lists, objects. What could not be found out is `missing`, with the
reason, and never stands for nothing: what was known before stays known.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec


class Hindrance(enum.StrEnum):
    """Why something could not be found out."""

    DENIED = "denied"
    TIMEOUT = "timeout"
    FAILED = "failed"


class Category(enum.StrEnum):
    """What is found out on its own, and fails on its own. The last four are ours."""

    USERS = "users"
    GROUPS = "groups"
    LISTENING_PORTS = "listening_ports"
    NETWORK_INTERFACES = "network_interfaces"
    ROUTES = "routes"
    FIREWALL = "firewall_rule_count"
    PACKAGES = "packages"
    SERVICES = "services"
    KERNEL = "kernel_release"
    UPTIME = "uptime"
    MOUNTS = "mountpoints"
    CONFIG = "config_hashes"
    PASSWORDS = "passwords"  # what the shadow file says, without hashes
    SSH_KEYS = "ssh_keys"
    SUDO_GROUPS = "sudo_groups"
    REBOOT = "reboot_required"


class Aspect(enum.StrEnum):
    """What is found out about the machine itself, each on its own."""

    OS_RELEASE = "os_release"
    UNAME = "uname"
    MEMORY = "memory"
    DISK = "disk"
    HOSTNAME = "hostname"
    FQDN = "fqdn"
    SELINUX = "selinux"
    APPARMOR = "apparmor"
    FIREWALL = "firewall"


class Inventory(msgspec.Struct, frozen=True):
    """What one trip to a host found: of each category its fact, or why there is none."""

    facts: Mapping[Category, Any]
    missing: Mapping[Category, Hindrance]
    system: Mapping[Aspect, Mapping[str, Any]]
    unknown: Mapping[Aspect, Hindrance]


def settled(
    before: Mapping[Category, Any], found: Mapping[Category, Any]
) -> dict[Category, Any]:
    """Return what was found, with what a single look cannot tell taken from what was known.

    A service between two states has the one before. A file that this look could not read has its
    former digest. A UDP port out of the range of client sockets counts once it was seen twice:
    most of them are a resolver that waits for its answer.
    """
    facts = dict(found)
    if Category.SERVICES in facts:
        old = before.get(Category.SERVICES, {})
        facts[Category.SERVICES] = {
            unit: old.get(unit, "inactive") if state == "changing" else state
            for unit, state in facts[Category.SERVICES].items()
        }
    if Category.CONFIG in facts:
        facts[Category.CONFIG] = _digests(
            before.get(Category.CONFIG, {}), facts[Category.CONFIG]
        )
    if Category.LISTENING_PORTS in facts:
        known = before.get(Category.LISTENING_PORTS)
        seen = None if known is None else {port_of(one) for one in known}
        facts[Category.LISTENING_PORTS] = [
            _plain(one) if seen is None or port_of(one) in seen else one
            for one in facts[Category.LISTENING_PORTS]
        ]
    return facts


def port_of(port: Mapping[str, Any]) -> str:
    """Return what tells a listening port from others: `tcp 0.0.0.0:22`."""
    return f"{port['protocol']} {port['address']}:{port['port']}"


def _digests(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the digests of files, the old ones of what could not be read: `DIRECTORY/*` or a path."""
    digests = {
        path: old.get(path) if digest is None else digest
        for path, digest in new.items()
        if not path.endswith("/*")
    }
    for path, digest in old.items():
        if f"{path.rpartition('/')[0]}/*" in new:
            digests.setdefault(path, digest)
    return digests


def _plain(port: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in port.items() if name != "passing"}
