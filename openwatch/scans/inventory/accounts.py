"""Who is on a host: users, groups, the ageing of passwords, SSH keys, and who may use sudo."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from openwatch.checks import accounts, sudo_files
from openwatch.checks.types import Facts, Observations, Probe, Verdict
from openwatch.evidence.redact import redact
from openwatch.fleet.inventory import Category, Hindrance
from openwatch.scans.inventory.answers import Reader, answered, because, text

# `u NAME:COMMENT` for every account, and below it the public keys that may log in to it. The file of
# a key is anybody's: only so much of it is read, only of a regular file, and only what has the form
# of a key is printed. Where sshd looks is what its settings say outside of Match.
_LOOK = r"""(a=$(cat /etc/ssh/sshd_config.d/*.conf /etc/ssh/sshd_config 2>/dev/null |
awk 'tolower($1)=="match"{m=1} !m&&tolower($1)=="authorizedkeysfile"{$1="";print;exit}')
set -f
while IFS=: read -r n x x x c h x; do
printf 'u %s:%s\n' "$n" "$c"
for p in ${a:-.ssh/authorized_keys .ssh/authorized_keys2}; do
case $p in *%u*) p=${p%%"%u"*}$n${p#*"%u"};; esac
case $p in *%h*) p=${p%%"%h"*}$h${p#*"%h"};; esac
case $p in /*) ;; *) p=$h/$p;; esac
[ -f "$p" ] || continue
head -c 262144 -- "$p" | awk '!/^[ \t]*#/&&match($0,/(ssh|ecdsa|sk)-[A-Za-z0-9@.-]+ AAAA[A-Za-z0-9+\/=]+/){
print substr($0,RSTART,RLENGTH)}'
done
done </etc/passwd
:)"""
ACCOUNTS = Probe(_LOOK, limit=1 << 20)
PROBES = (accounts.LOCAL, accounts.AGES, sudo_files.WRITTEN, ACCOUNTS)

_EPOCH = dt.date(1970, 1, 1)
_NEVER = 99999  # days: what the tools write for a password without an end


def _users(
    _facts: Facts, observations: Observations, _found: Any
) -> dict[str, Any] | Hindrance:
    local = accounts.local(observations)
    if isinstance(local, Verdict):
        return because(local)
    comments = dict(_comments(observations))
    users: dict[str, Any] = {}
    for user in local.users:
        name = _clean(user.name)
        if name in users:
            continue  # the first line of a name is what the host goes by
        users[name] = {
            "uid": _number(user.id),
            "gid": _number(user.group),
            "home": _clean(user.home),
            "shell": _clean(user.shell),
            "gecos": comments.get(name, ""),
        }
    return users


def _groups(
    _facts: Facts, observations: Observations, _found: Any
) -> dict[str, list[str]] | Hindrance:
    """Return the members of each group, those whose first group it is among them."""
    local = accounts.local(observations)
    if isinstance(local, Verdict):
        return because(local)
    groups: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for group in local.groups:
        name = _clean(group.name)
        names.setdefault(group.id, name)
        groups.setdefault(name, set()).update(_clean(member) for member in group.members)
    for user in local.users:
        if user.group in names:
            groups[names[user.group]].add(_clean(user.name))
    return {name: sorted(members) for name, members in groups.items()}


def _passwords(
    _facts: Facts, observations: Observations, _found: Any
) -> dict[str, Any] | Hindrance:
    found = answered(observations, accounts.AGES)
    if isinstance(found, Hindrance):
        return found
    passwords: dict[str, Any] = {}
    for row in text(found.stdout).split("\n"):
        fields = row.split(":")
        if len(fields) < 6 or fields[1] in passwords:
            continue
        kind, changed, longest = fields[2], _number(fields[3]), _number(fields[5])
        passwords[fields[1]] = {
            "locked": kind[:1] in {"!", "*"},
            "last_change_days": changed,
            "max_days": longest,
            "password_expires_at": _end(changed, longest),
        }
    return passwords or Hindrance.FAILED


def _end(changed: int | None, longest: int | None) -> str | None:
    if changed is None or longest is None or not 0 < longest < _NEVER:
        return None
    try:
        return (_EPOCH + dt.timedelta(days=changed + longest)).isoformat()
    except OverflowError:
        return None


def _keys(facts: Facts, observations: Observations, _found: Any) -> dict[str, Any] | Hindrance:
    found = answered(observations, ACCOUNTS)
    if isinstance(found, Hindrance):
        return found
    if not facts.root:
        return Hindrance.DENIED  # others' files look as if they were not there
    keys: dict[str, dict[str, str]] = {}
    user = ""
    for row in text(found.stdout).split("\n"):
        if row.startswith("u "):
            user = row[2:].partition(":")[0]
        elif user and row:
            kind, _, body = row.partition(" ")
            fingerprint = _fingerprint(body)
            if fingerprint:
                keys.setdefault(user, {})[fingerprint] = kind
    return keys


def _fingerprint(body: str) -> str:
    """Return the SHA-256 fingerprint as ssh-keygen writes it, "" of what is no key."""
    try:
        blob = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return ""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def _sudo_groups(
    _facts: Facts, observations: Observations, _found: Any
) -> list[str] | Hindrance:
    found = sudo_files.read(observations)
    if found is None:
        return []
    if isinstance(found, Verdict):
        return because(found)
    doubt = sudo_files.doubt(found, observations)
    if doubt is not None:
        return because(doubt)
    ids: Mapping[str, str] = {}
    local = accounts.local(observations)
    if not isinstance(local, Verdict):
        ids = {group.id: group.name for group in local.groups}
    named = {
        name[1:]
        for grant in found.grants
        for name in found.expanded(grant.users)
        if name.startswith("%") and not name.startswith("%:")
    }
    return sorted(
        _clean(ids.get(name[1:], name) if name[:1] == "#" else name) for name in named
    )


def _comments(observations: Observations) -> Iterator[tuple[str, str]]:
    found = answered(observations, ACCOUNTS)
    if isinstance(found, Hindrance):
        return
    for row in text(redact(found.stdout).content).split("\n"):
        if row.startswith("u "):
            name, _, comment = row[2:].partition(":")
            yield name, comment[:256]


def _number(written: str) -> int | None:
    digits = written.removeprefix("-")
    return int(written) if digits.isdecimal() and len(digits) < 16 else None


def _clean(written: str) -> str:
    return written.replace("\0", "")


READERS: Mapping[Category, Reader] = {
    Category.USERS: _users,
    Category.GROUPS: _groups,
    Category.PASSWORDS: _passwords,
    Category.SSH_KEYS: _keys,
    Category.SUDO_GROUPS: _sudo_groups,
}
