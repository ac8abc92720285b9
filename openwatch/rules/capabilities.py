"""What a host can do: the probes that choose between implementations, and reading their answers.

A probe is a POSIX sh command list that ends with 0 (yes), 1 (no) or anything else (cannot tell).
It may use the helpers of `_HELPERS` and must neither exit, print, nor hold a line end.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

from openwatch.checks.types import Facts, Probe
from openwatch.rules.types import Corpus, When

# h: a command is on PATH. f: one of these paths exists. u: a unit file is listed. a: a unit is
# active (3 and 4 are systemctl's no; without a running systemd nothing is). g: grep, where a
# missing file means no. q: print the answer of the command before.
_HELPERS = (
    'h(){ for x in "$@";do command -v "$x">/dev/null&&return 0;done;return 1;};'
    'f(){ for x in "$@";do [ -e "$x" ]&&return 0;done;return 1;};'
    "u(){ for x in /etc /run /usr/local/lib /usr/lib /lib;do "
    'for y in "$@";do f "$x/systemd/system/$y"&&return 0;done;done;return 1;};'
    'a(){ [ -d /run/systemd/system ]||return 1;systemctl is-active -q "$1";'
    "case $? in 0)return 0;;3|4)return 1;;esac;return 2;};"
    'g(){ [ -e "$2" ]||return 1;grep -Eiq "$1" "$2";};'
    'q(){ case $? in 0)echo "c $1=1";;1)echo "c $1=0";;*)echo "c $1=?";;esac;};'
)

PROBES: Mapping[str, str] = {
    "aide": "h aide",
    "apparmor": "g ^y /sys/module/apparmor/parameters/enabled",
    "apt": "h apt-get",
    "apt_unattended_upgrades": (
        "h dpkg-query&&"
        "[ \"$(dpkg-query -W -f '${db:Status-Status}' unattended-upgrades)\" = installed ]"
    ),
    "at": "h at",
    "auditd": "a auditd.service",
    "authselect": "h authselect",
    "chronyd": "u chronyd.service chrony.service",
    "coredump_systemd": "u systemd-coredump.socket",
    "cron": "u crond.service cron.service",
    "crypto_policies": "h update-crypto-policies",
    "dconf": "h dconf",
    "directory_joined": (
        'if h realm&&[ -n "$(realm list)" ];then true;'
        "elif g '^passwd:.*[[:space:]](ldap|winbind)([[:space:]]|$)' /etc/nsswitch.conf;"
        "then true;elif a nslcd.service;then true;"
        "elif g '^passwd:.*[[:space:]]sss([[:space:]]|$)' /etc/nsswitch.conf;"
        "then a sssd.service||g '^[[:space:]]*[[]domain/' /etc/sssd/sssd.conf;else false;fi"
    ),
    "dnf_automatic": "u dnf-automatic.timer",
    "dpkg": "h dpkg",
    "fapolicyd": "u fapolicyd.service",
    "fips_mode": "g ^1 /proc/sys/crypto/fips_enabled",
    "firewalld": "u firewalld.service",
    "firewalld_nftables": "h nft&&a firewalld.service",
    "gdm": "h gdm gdm3||u gdm.service gdm3.service",
    "grub_bls": "f /boot/loader/entries",
    "journald": "a systemd-journald.service",
    "nftables": "h nft",
    "nftables_active": "a nftables.service",
    "pam_faillock": "f /etc/security/faillock.conf",
    "pam_pwquality": "f /etc/security/pwquality.conf",
    "pam_tally2": (
        "h pam_tally2||f /lib/security/pam_tally2.so /lib64/security/pam_tally2.so "
        "/lib/*/security/pam_tally2.so"
    ),
    "rsyslog": "u rsyslog.service",
    "rsyslog_active": "a rsyslog.service",
    "selinux": "g ^1 /sys/fs/selinux/enforce",
    "sshd_config_d": (
        "f /etc/ssh/sshd_config.d&&"
        "g '^[[:space:]]*include[[:space:]].*sshd_config[.]d' /etc/ssh/sshd_config"
    ),
    "sssd": "u sssd.service",
    "sssd_configured": (
        "[ -s /etc/sssd/sssd.conf ]||f /etc/sssd/conf.d/*.conf||"
        "{ [ -d /etc/sssd ]&&! [ -x /etc/sssd ]&&(exit 2);}||a sssd.service"
    ),
    "subscription_manager": "h subscription-manager",
    "systemd_dbus": (
        "[ -S /run/dbus/system_bus_socket ]&&[ -d /run/systemd/system ]&&"
        "systemctl show -p Version>/dev/null"
    ),
    "systemd_resolved": "a systemd-resolved.service",
    "ubuntu_advantage": "h ua pro",
    "ufw": "u ufw.service",
    "usbguard": "u usbguard.service",
}

NAMES = frozenset(PROBES)

_HEAD = (
    "for x in /etc/os-release /usr/lib/os-release;do [ -r $x ]&&"
    "{ grep -aE '^(ID|VERSION_ID|ID_LIKE|PRETTY_NAME)=' $x|sed 's/^/o /';break;};done;"
    'echo "n $(uname -nrm|head -n 1)";echo "i $(id -u)";'
)


def needed(corpus: Corpus) -> frozenset[str]:
    """Return the capabilities that some gate of the corpus names.

    All of them where a gate is a variable, which may be another one for each host.
    """
    if any(one.gates for one in corpus.templates.values()):
        return NAMES
    names: set[str] = set()
    for rule in corpus.rules.values():
        for implementation in rule.implementations:
            if implementation.when is not None:
                names |= _named(implementation.when)
    return frozenset(names)


def _named(when: When) -> set[str]:
    names = {when.capability} if when.capability else set()
    for inner in (*when.all, *when.any, *((when.none,) if when.none else ())):
        names |= _named(inner)
    return names


def detection(names: Iterable[str]) -> str:
    """Return one line of POSIX sh that prints who the host is and what it can do.

    It leaves the shell that runs it as it was. Every line that it prints starts with a letter of
    its own, so that nothing in os-release can pass for another answer.
    """
    chosen = "".join(f"{PROBES[name]};q {name};" for name in sorted(set(names)))
    return f"({_HEAD}{_HELPERS}{chosen}) 2>/dev/null </dev/null"


def detection_probe(names: Iterable[str]) -> Probe:
    """Return the same question as a probe."""
    return Probe(detection(names), seconds=20.0)


def parse(answer: bytes, names: Iterable[str] = ()) -> Facts:
    """Return the facts that a detection printed; of `names`, those without an answer are unknown.

    A key of os-release that is given twice has its last value, as in a shell; a capability has
    its first answer. Anything else that was printed is left out.
    """
    release: dict[str, str] = {}
    answers: dict[str, str] = {}
    system, user = "", ""
    for line in answer.decode("utf-8", "replace").split("\n"):
        kind, _, rest = line.rstrip("\r").partition(" ")
        if kind == "o":
            key, _, value = rest.partition("=")
            release[key] = _unquoted(value)
        elif kind == "n":
            system = system or rest
        elif kind == "i":
            user = user or rest.strip()
        elif kind == "c":
            name, _, said = rest.partition("=")
            if name in NAMES and said in {"1", "0", "?"}:
                answers.setdefault(name, said)
    words = system.split()
    unknown = {name for name, said in answers.items() if said == "?"}
    return Facts(
        family=release.get("ID", "").lower(),
        version=release.get("VERSION_ID", ""),
        like=tuple(release.get("ID_LIKE", "").lower().split()),
        pretty=release.get("PRETTY_NAME", ""),
        hostname=" ".join(words[:-2]),
        kernel=words[-2] if len(words) > 2 else "",
        architecture=words[-1] if len(words) > 2 else "",
        root=user == "0",
        capabilities=frozenset(name for name, said in answers.items() if said == "1"),
        unknown=frozenset(unknown | (set(names) - answers.keys())),
    )


def _unquoted(value: str) -> str:
    try:
        text = " ".join(shlex.split(value))
    except ValueError:
        text = value
    return re.sub(r"[\x00-\x1f\x7f]", "", text)[:256]
