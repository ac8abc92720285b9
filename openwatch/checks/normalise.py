"""What changes by itself on a host that nobody changed, taken out of an answer before it is judged.

A probe whose answer varies by nature names one of these. It is used as the answer is read, so
that a scan, its evidence and a replay of it all rest on the same text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from openwatch.checks.types import Normaliser, Probe

# Counters and random numbers of the kernel that `sysctl -a` prints among the settings.
_COUNTERS = (
    r"fs\.(?:dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota\.\S+)"
    r"|kernel\.(?:ns_last_pid|pty\.nr|random\.(?:uuid|entropy_avail)|hung_task_detect_count)"
    r"|kernel\.sched_domain\.\S+|net\.netfilter\.nf_conntrack_count|net\.core\.netdev_rss_key"
    r"|sunrpc\.transports|net\.ipv[46]\.(?:conf|neigh)\.(?:veth|cali|lxc)[^.\s]*\.\S+"
)
_COUNTER = re.compile(_COUNTERS)
_COUNTER_LINE = re.compile(rb"^(?:" + _COUNTERS.encode() + rb") =.*\n?", re.MULTILINE)
# How often a module is in use, and where it was put: of /proc/modules the third and last column.
_MODULE = re.compile(rb"^(\S+ \d+) \d+ (\S+ \S+) 0x[0-9a-f]+", re.MULTILINE)
# Mounts that come and go with whoever is logged in, the scan's own login first.
_LOGIN_MOUNT = re.compile(rb'^TARGET="/run/(?:user/\d+|credentials/)[^\n]*\n?', re.MULTILINE)


def is_counter(key: str) -> bool:
    """Return whether a kernel parameter counts, and so is no setting."""
    return _COUNTER.fullmatch(key) is not None


def normalised(probe: Probe, stdout: bytes) -> bytes:
    """Return a probe's standard output without what varies by nature."""
    return stdout if probe.normaliser is None else _BY_NAME[probe.normaliser](stdout)


def _sysctl(stdout: bytes) -> bytes:
    return _COUNTER_LINE.sub(b"", stdout)


def _modules(stdout: bytes) -> bytes:
    return _MODULE.sub(rb"\1 - \2 -", stdout)


def _mounts(stdout: bytes) -> bytes:
    return _LOGIN_MOUNT.sub(b"", stdout)


_BY_NAME: Mapping[Normaliser, Callable[[bytes], bytes]] = {
    Normaliser.SYSCTL: _sysctl,
    Normaliser.MODULES: _modules,
    Normaliser.MOUNTS: _mounts,
}
