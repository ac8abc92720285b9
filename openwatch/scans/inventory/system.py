"""What runs and is stored on a host: packages, services, mounts, settings' digests, the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from openwatch.checks import files, package_state
from openwatch.checks.answers import answer, unanswered
from openwatch.checks.types import Facts, Observations, Probe, Reason
from openwatch.evidence.redact import redact
from openwatch.fleet.inventory import Category, Hindrance
from openwatch.scans.inventory.answers import Reader, answered, content, known, line, text

SERVICES = Probe(
    "systemctl list-units --type=service --all --full --plain --no-legend --no-pager",
    seconds=20.0,
    limit=1 << 19,
)
# A pattern that matches nothing is no file; what cannot be read or listed says so.
CONFIG = Probe(
    "(for d in /etc/sudoers.d /etc/ssh/sshd_config.d /etc/pam.d; do "
    '[ ! -d $d ] || [ -r $d ] || echo "sha256sum: $d/*: Permission denied" >&2; done; '
    "for f in /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/sudoers /etc/sudoers.d/* "
    "/etc/ssh/sshd_config /etc/ssh/sshd_config.d/* /etc/crontab /etc/pam.d/* /etc/hosts.allow "
    '/etc/hosts.deny /etc/login.defs /etc/fstab; do [ -f "$f" ] && set -- "$@" "$f"; done; '
    '[ $# = 0 ] || sha256sum -- "$@")',
    limit=1 << 18,
)
_MOUNTS, _UPTIME = "/proc/mounts", "/proc/uptime"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MARKERS = ("/run/reboot-required", "/run/reboot-needed")
READ = (_MOUNTS, _UPTIME, _BOOT_ID, *_MARKERS)

# What comes and goes with logins, containers and their pods is no change of the host.
_PASSING_MOUNTS = re.compile(
    r"/(?:proc|run/(?:user|credentials|netns|docker|containerd|snapd/ns)"
    r"|var/lib/(?:docker|containers|containerd|kubelet))/"
)
_PASSING_UNITS = re.compile(r"(?:user|user-runtime-dir)@\d+\.service|run-[^.]*\.service")
_STATES = {
    "active": "active",
    "reloading": "active",
    "refreshing": "active",
    "failed": "failed",
}
_ESCAPED = re.compile(r"\\([0-7]{3})")
_KERNELS = ("kernel-core", "kernel-uek-core", "kernel-rt-core", "kernel-default", "kernel-uek")
_PART = re.compile(r"\d+|[a-zA-Z]+")


def probes(facts: Facts) -> tuple[Probe, ...]:
    """Return the questions for a host of which so much is known."""
    return (
        *_packages_of(facts),
        SERVICES,
        CONFIG,
        *(files.reading(path) for path in READ),
    )


# -- packages ----------------------------------------------------------------------------------


def _packages_of(facts: Facts) -> tuple[Probe, ...]:
    return package_state.probes(package_state.Parameters("any"), facts)


def _packages(
    facts: Facts, observations: Observations, _found: Any
) -> dict[str, list[str]] | Hindrance:
    """Return the versions by name and architecture; `foo.x86_64` may have several."""
    versions: dict[str, set[str]] = {}
    hindrance = Hindrance.FAILED
    for probe in _packages_of(facts):
        broken = unanswered(answer(observations, probe), probe)
        if broken is not None and broken.reason is Reason.TOOL_MISSING:
            continue
        found = answered(observations, probe)
        if isinstance(found, Hindrance):
            return found  # half a list would look like packages that were removed
        if re.search(rb"(?m)^error:", found.stderr):
            return Hindrance.FAILED
        rows = text(found.stdout).split("\n")
        is_rpm = probe.script.startswith("rpm")
        for name, version, architecture in _rpm(rows) if is_rpm else _dpkg(rows):
            versions.setdefault(f"{name}.{architecture}", set()).add(version)
    return {name: sorted(all_of) for name, all_of in versions.items()} or hindrance


def _rpm(rows: list[str]) -> Iterator[tuple[str, str, str]]:
    for row in rows:
        fields = row.split("\t")
        if len(fields) == 3 and fields[0]:
            yield fields[0], fields[1].removeprefix("0:"), fields[2].replace("(none)", "noarch")


def _dpkg(rows: list[str]) -> Iterator[tuple[str, str, str]]:
    for row in rows:
        fields = row.split("\t")
        if len(fields) == 4 and fields[1] and fields[0][1:2] in set("iWtTUFH"):
            yield fields[1], fields[2], fields[3]


# -- services, mounts, settings ----------------------------------------------------------------


def _services(
    _facts: Facts, observations: Observations, _found: Any
) -> dict[str, str] | Hindrance:
    found = answered(observations, SERVICES)
    if isinstance(found, Hindrance):
        return found
    services: dict[str, str] = {}
    for row in text(found.stdout).split("\n"):
        words = row.split()
        if words and not words[0].endswith(".service"):
            words = words[1:]  # a sign in front of one that failed
        if len(words) < 4 or not words[0].endswith(".service"):
            continue
        unit, load, active, sub = words[:4]
        if load == "not-found" or _PASSING_UNITS.fullmatch(unit):
            continue
        if active in {"activating", "deactivating"}:
            services[unit] = "failed" if sub == "auto-restart" else "changing"
        else:
            services[unit] = _STATES.get(active, "inactive")
    return services or Hindrance.FAILED


def _mounts(
    _facts: Facts, observations: Observations, _found: Any
) -> dict[str, str] | Hindrance:
    found = content(observations, _MOUNTS)
    if found is None or isinstance(found, Hindrance):
        return found or Hindrance.FAILED
    rows = [row.split(" ") for row in found.split("\n")]
    rows = [row for row in rows if len(row) >= 4]
    automatic = {_plain(row[1]) for row in rows if row[2] == "autofs"}
    mounts: dict[str, str] = {}
    for row in rows:
        path = _plain(row[1])
        is_automatic = path in automatic or any(path.startswith(f"{a}/") for a in automatic)
        if not is_automatic and not _PASSING_MOUNTS.match(path):
            mounts[path] = row[0]  # the last one on a point hides those before
    sources = "\n".join(mounts.values())  # an address may hold a password
    shown = redact(sources.encode()).content.decode("utf-8", "replace").split("\n")
    named = {path: _plain(source) for path, source in zip(mounts, shown, strict=True)}
    return named or Hindrance.FAILED


def _plain(escaped: str) -> str:
    return _ESCAPED.sub(lambda seen: chr(int(seen[1], 8)), escaped).replace("\0", "")


def _config(
    _facts: Facts, observations: Observations, _found: Any
) -> dict[str, str | None] | Hindrance:
    """Return the digests of files by their paths; None of one that could not be read."""
    found = answered(observations, CONFIG, frozenset({0, 1}))
    if isinstance(found, Hindrance):
        return found
    digests: dict[str, str | None] = {}
    for row in text(found.stdout).split("\n"):
        digest, _, path = row.removeprefix("\\").partition("  ")
        if re.fullmatch(r"[0-9a-f]{64}", digest) and path:
            digests[path] = digest
    for row in text(found.stderr).split("\n"):
        refused = re.match(r"sha256sum: (?:can't open )?'?(/[^':]+)'?: ", row)
        if refused:
            digests[refused[1]] = None
    if not any(digests.values()):
        return Hindrance.FAILED
    return digests


# -- the kernel --------------------------------------------------------------------------------


def _uptime(
    _facts: Facts, observations: Observations, _found: Any
) -> dict[str, Any] | Hindrance:
    found = line(observations, _UPTIME)
    head = "" if found is None or isinstance(found, Hindrance) else found.split(" ")[0]
    if not re.fullmatch(r"\d{1,12}(\.\d+)?", head):
        return Hindrance.FAILED
    boot = known(line(observations, _BOOT_ID)) or ""
    return {"seconds": int(float(head)), "boot_id": boot[:64]}


def _reboot(
    facts: Facts, observations: Observations, found: Mapping[Category, Any]
) -> bool | Hindrance:
    """Tell whether the host says so, or a newer kernel than the running one is installed."""
    if any(known(content(observations, path)) is not None for path in _MARKERS):
        return True
    packages = found[Category.PACKAGES]
    if isinstance(packages, Hindrance):
        return packages
    newest = _newest(facts, packages)
    if newest is not None:
        return newest != facts.kernel
    # Debian and its like leave a mark; of others nothing can be said without knowing the kernel.
    is_marking = {facts.family, *facts.like} & {"debian", "ubuntu"}
    return False if is_marking else Hindrance.FAILED


def _newest(facts: Facts, packages: Mapping[str, list[str]]) -> str | None:
    """Return the newest of the installed kernels of the running one's kind, None where unknown."""
    kinds = [
        {
            f"{version.rpartition(':')[2]}.{package.rpartition('.')[2]}"
            for package, versions in packages.items()
            if package.rpartition(".")[0] == name
            for version in versions
        }
        for name in _KERNELS
    ]
    flavour = facts.kernel.partition("-")[2].lstrip("0123456789.-")
    releases = {
        package.rpartition(".")[0].removeprefix("linux-image-")
        for package in packages
        if re.match(r"linux-image-\d", package)
    }
    kinds.append({one for one in releases if one.endswith(f"-{flavour}") or not flavour})
    for releases in kinds:
        if facts.kernel in releases:
            return max(releases, key=_order)
    return None


def _order(release: str) -> list[tuple[int, int, str]]:
    """Return what releases are ordered by: numbers as numbers, and before letters."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in _PART.findall(release)
    ]


def _kernel(facts: Facts, _observations: Observations, _found: Any) -> str | Hindrance:
    return facts.kernel.replace("\0", "") or Hindrance.FAILED


READERS: Mapping[Category, Reader] = {
    Category.PACKAGES: _packages,
    Category.SERVICES: _services,
    Category.MOUNTS: _mounts,
    Category.CONFIG: _config,
    Category.KERNEL: _kernel,
    Category.REBOOT: _reboot,
    Category.UPTIME: _uptime,
}
