"""What machine a host is: its system, kernel, memory, disk, names, and what guards it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from openwatch.checks import files
from openwatch.checks.types import Facts, Observations, Probe
from openwatch.fleet.inventory import Aspect, Category, Hindrance
from openwatch.scans.inventory.answers import Reader, answered, content, known, line, text

DISK = Probe("df -P -k /", limit=4096)
# The lines of the hosts file about the host itself: asking its resolver may take long.
NAMES = Probe(
    '(read -r h </proc/sys/kernel/hostname; grep -aiwF -- "$h" /etc/hosts | head -n 20)',
    limit=8192,
)
_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
_MEMORY, _SYSTEM, _VERSION = (
    "/proc/meminfo",
    "/proc/sys/kernel/ostype",
    "/proc/sys/kernel/version",
)
_SELINUX = ("/sys/fs/selinux/enforce", "/etc/selinux/config")
_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_UFW = "/etc/ufw/ufw.conf"
PROBES = (
    DISK,
    NAMES,
    *(
        files.reading(path)
        for path in (*_RELEASE, _MEMORY, _SYSTEM, _VERSION, *_SELINUX, _APPARMOR, _UFW)
    ),
)

_FAMILIES = {
    "rhel": ("rhel", "fedora", "centos"),
    "debian": ("debian", "ubuntu"),
    "suse": ("suse", "opensuse"),
    "alpine": ("alpine",),
    "arch": ("arch",),
    "gentoo": ("gentoo",),
}

_Facts = Mapping[str, Any]


def _release(facts: Facts, observations: Observations, _found: Any) -> _Facts | Hindrance:
    written = [content(observations, path) for path in _RELEASE]
    texts = [one for one in written if one is not None and not isinstance(one, Hindrance)]
    if not texts and not facts.family:
        return next((one for one in written if isinstance(one, Hindrance)), Hindrance.FAILED)
    values = dict(_assignments(texts[0])) if texts else {}
    like = " ".join(facts.like)
    return {
        "os_name": values.get("NAME") or None,
        "os_version": values.get("VERSION_ID") or facts.version or None,
        "os_version_full": values.get("VERSION") or None,
        "os_id": values.get("ID") or facts.family or None,
        "os_id_like": values.get("ID_LIKE") or _clean(like) or None,
        "os_pretty_name": values.get("PRETTY_NAME") or _clean(facts.pretty) or None,
        "os_family": _clean(facts.family) or _family(facts.like),
        "platform_identifier": f"{_clean(facts.family)}{facts.major or ''}" or None,
    }


def _assignments(written: str) -> Iterator[tuple[str, str]]:
    for row in written.split("\n"):
        key, sign, value = row.partition("=")
        if sign and re.fullmatch(r"[A-Z_]+", key):
            try:
                yield key, " ".join(shlex.split(value))[:256]
            except ValueError:
                yield key, value[:256]


def _family(like: tuple[str, ...]) -> str:
    for word in like:
        for family, members in _FAMILIES.items():
            if word in members:
                return family
    return "other"


def _uname(facts: Facts, observations: Observations, _found: Any) -> _Facts | Hindrance:
    if not facts.kernel:
        return Hindrance.FAILED
    return {
        "kernel_name": known(line(observations, _SYSTEM)) or "Linux",
        "kernel_release": _clean(facts.kernel),
        "kernel_version": known(line(observations, _VERSION)) or None,
        "architecture": _clean(facts.architecture) or None,
    }


def _memory(_facts: Facts, observations: Observations, _found: Any) -> _Facts | Hindrance:
    written = content(observations, _MEMORY)
    if written is None or isinstance(written, Hindrance):
        return written or Hindrance.FAILED
    sizes = {
        name: int(size) // 1024
        for name, size in re.findall(r"(?m)^(\w+): +(\d{1,15}) kB$", written)
    }
    if "MemTotal" not in sizes:
        return Hindrance.FAILED
    guess = sum(sizes.get(name, 0) for name in ("MemFree", "Buffers", "Cached"))
    return {
        "mem_total_mb": sizes["MemTotal"],
        "mem_available_mb": sizes.get("MemAvailable", guess),
        "swap_total_mb": sizes.get("SwapTotal"),
    }


def _disk(_facts: Facts, observations: Observations, _found: Any) -> _Facts | Hindrance:
    found = answered(observations, DISK)
    if isinstance(found, Hindrance):
        return found
    row = re.search(
        r"\s(\d{1,18})\s+(\d{1,18})\s+(-?\d{1,18})\s+\S+\s+/\s*$", text(found.stdout)
    )
    if row is None:
        return Hindrance.FAILED
    total, used, free = (-(-int(size) // (1 << 20)) for size in row.groups())
    return {"disk_total_gb": total, "disk_used_gb": used, "disk_free_gb": free}


def _hostname(facts: Facts, _observations: Observations, _found: Any) -> _Facts | Hindrance:
    name = _clean(facts.hostname)
    return {"hostname": name} if name else Hindrance.FAILED


def _fqdn(facts: Facts, observations: Observations, _found: Any) -> _Facts | Hindrance:
    name = _clean(facts.hostname)
    if "." in name:
        return {"fqdn": name}
    found = answered(observations, NAMES, frozenset({0, 1}))
    if isinstance(found, Hindrance):
        return found
    for row in text(found.stdout).split("\n"):
        names = row.partition("#")[0].split()[1:]
        if name.lower() not in (one.lower() for one in names):
            continue
        own = [one for one in names if one.lower().startswith(f"{name.lower()}.")]
        full = names[0] if "." in names[0] else next(iter(own), "")
        if full and not full.startswith("localhost"):
            return {"fqdn": full[:256]}
    return {"fqdn": None}


def _selinux(_facts: Facts, observations: Observations, _found: Any) -> _Facts | Hindrance:
    state = line(observations, _SELINUX[0])
    if isinstance(state, Hindrance):
        return state
    if state is not None:
        return {"selinux_status": {"1": "Enforcing", "0": "Permissive"}.get(state, "")}
    config = content(observations, _SELINUX[1])
    if isinstance(config, Hindrance):
        return config
    return {"selinux_status": "" if config is None else "Disabled"}


def _apparmor(_facts: Facts, observations: Observations, _found: Any) -> _Facts | Hindrance:
    state = line(observations, _APPARMOR)
    return state if isinstance(state, Hindrance) else {"apparmor_enabled": state == "Y"}


def _firewall(
    _facts: Facts, observations: Observations, found: Mapping[Category, Any]
) -> _Facts | Hindrance:
    """Name who manages the packet filter, and say whether it filters."""
    rules, services = found[Category.FIREWALL], found[Category.SERVICES]
    ufw = known(content(observations, _UFW))
    units: Mapping[str, str] = {} if isinstance(services, Hindrance) else services
    if units.get("firewalld.service") == "active":
        return _managed("firewalld", is_active=True)
    if ufw is not None and re.search(r"(?mi)^ENABLED=[\"']?yes", ufw):
        return _managed("ufw", is_active=True)
    if isinstance(rules, Hindrance):
        return rules
    if not rules["rules"] and units.get("nftables.service") != "active":
        idle = "firewalld" if "firewalld.service" in units else "ufw" if ufw is not None else ""
        return _managed(idle or rules["engine"].replace("none", ""), is_active=False)
    return _managed(rules["engine"], is_active=True)


def _managed(name: str, *, is_active: bool) -> _Facts:
    """Return who filters; nobody filters nothing, which is no inactive filter."""
    status = ("active" if is_active else "inactive") if name else ""
    return {"firewall_service": name, "firewall_status": status}


def _clean(written: str) -> str:
    return written.replace("\0", "")


READERS: Mapping[Aspect, Reader] = {
    Aspect.OS_RELEASE: _release,
    Aspect.UNAME: _uname,
    Aspect.MEMORY: _memory,
    Aspect.DISK: _disk,
    Aspect.HOSTNAME: _hostname,
    Aspect.FQDN: _fqdn,
    Aspect.SELINUX: _selinux,
    Aspect.APPARMOR: _apparmor,
    Aspect.FIREWALL: _firewall,
}
