"""Ask for the host's own accounts once, for every rule about them; no hash leaves the host.

The answers are the lines of the files behind their path and a colon. In place of a password's hash
stands what kind it is: nothing, `x`, `*`, `!` (locked, without one), or `$6`, `$y` and the like and
`hash` for one of an older form, behind `!` where it is locked. Comments, entries of NIS and white
space before a name are left out, as the C library does; an account may be without a name.
"""

from __future__ import annotations

import re

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, error, hindered, parsed, said, unanswered
from openwatch.checks.types import Observations, Probe, Reason, Verdict

_KIND = """\
function kind(s,  lock, part) {
  lock = sub(/^!+/, "", s) ? "!" : ""
  if (s == "" || s == "x" || s ~ /^[*]/) return lock substr(s, 1, 1)
  split(s, part, "$")
  return lock (substr(s, 1, 1) == "$" && length(part[2]) < 5 ? "$" part[2] : "hash")
}
{ sub(/^[ \t]+/, "") }
NF > 1 && !/^[+#-]/ { if ($1 == "") $1 = "(nameless)"; """

LOCAL = Probe(
    f"awk -F: '{_KIND}"
    'if (FILENAME == "/etc/group") print FILENAME, $1, kind($2), $3, $4; '
    "else print FILENAME, $1, kind($2), $3, $4, $6, $7 }' OFS=: /etc/passwd /etc/group",
    limit=1 << 20,
)
"""Users and groups."""

AGES = Probe(
    f"awk -F: '{_KIND}print FILENAME, $1, kind($2), $3, $4, $5, $6, $7, $8 }}' OFS=: /etc/shadow",
    limit=1 << 20,
)
"""What the shadow file says of each password but the password."""

HOMELESS = Probe(
    '(while IFS=: read -r name x x x x home x || [ -n "$name" ]; do '
    'name=${name#"${name%%[! \t]*}"}; '
    '[ -n "$home" ] && [ -d "$home" ] || printf \'%s\\n\' "$name"; done </etc/passwd)',
    limit=1 << 18,
)
"""Whose home directory is not there."""

DEFAULTS = files.reading("/etc/login.defs")
"""Among them the first id of people."""


class User(msgspec.Struct, frozen=True):
    """A line of the passwd file; ids as they are written."""

    name: str
    password: str
    id: str
    group: str
    home: str
    shell: str


class Group(msgspec.Struct, frozen=True):
    """A line of the group file."""

    name: str
    id: str
    members: tuple[str, ...]


class Age(msgspec.Struct, frozen=True):
    """A line of the shadow file: days, as they are written."""

    name: str
    password: str
    minimum: str
    maximum: str

    @property
    def has_password(self) -> bool:
        """Whether there is a hash, locked or not."""
        return self.password.lstrip("!")[:1] not in {"", "x", "*"}


class Local(msgspec.Struct, frozen=True):
    """Users and groups, in the order of their files."""

    users: tuple[User, ...]
    groups: tuple[Group, ...]


def number(text: str) -> int | None:
    """Return an id as the C library reads it: a sign or white space before it are no matter."""
    return int(text) if re.fullmatch(r"[ \t]*[+-]?[0-9]{1,20}", text) else None


def local(observations: Observations) -> Local | Verdict:
    """Return the users and groups; a Verdict is the error."""
    broken = _broken(observations, LOCAL)
    found = parsed(observations, LOCAL, _local)
    if broken is None and not (found.users and found.groups):
        broken = error(Reason.UNPARSABLE, "the passwd or the group file holds no account")
    return broken or found


def ages(observations: Observations) -> tuple[Age, ...] | Verdict:
    """Return what the shadow file says; a Verdict is the error."""
    broken = _broken(observations, AGES)
    found = parsed(observations, AGES, _ages)
    if broken is None and not found:
        broken = error(Reason.UNPARSABLE, "the shadow file holds no account")
    return broken or found


def without_password(observations: Observations) -> list[str]:
    """Return who can be seen to have an empty password, even where not all could be read."""
    users = parsed(observations, LOCAL, _local).users
    shadows = parsed(observations, AGES, _ages)
    return [
        *(user.name for user in users if not user.password),
        *(age.name for age in shadows if not age.password),
    ]


def homeless(observations: Observations) -> frozenset[str] | Verdict:
    """Return the accounts whose home directory is not there; a Verdict is the error."""
    return _broken(observations, HOMELESS) or frozenset(parsed(observations, HOMELESS, _names))


def first_person(observations: Observations) -> int | Verdict:
    """Return the lowest user id of people, 1000 where the host names none."""
    state = files.state_of(answer(observations, DEFAULTS), DEFAULTS)
    if isinstance(state, Verdict):
        return state
    if answer(observations, DEFAULTS).truncated:
        return cut("UID_MIN")
    words = [line.split() for line in answer(observations, DEFAULTS).text.split("\n")]
    named = [row[1] for row in words if len(row) > 1 and row[0] == "UID_MIN"]
    return int(named[-1]) if named and named[-1].isdecimal() else 1000


def _broken(observations: Observations, probe: Probe) -> Verdict | None:
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    if observation.truncated:
        return cut("every account")
    if observation.exit != 0 or observation.stderr.strip():
        told = said(observation) or f"exit {observation.exit}"
        return hindered(observation) or error(Reason.UNREADABLE, told)
    return None


def _local(stdout: bytes) -> Local:
    users, groups = [], []
    for fields in _rows(stdout):
        if fields[0] == "/etc/passwd" and len(fields) >= 7:
            _, name, password, user, group, home, shell = fields[:7]
            users.append(User(name, password, user, group, home, shell))
        elif fields[0] == "/etc/group" and len(fields) >= 5:
            members = tuple(name for name in fields[4].split(",") if name)
            groups.append(Group(fields[1], fields[3], members))
    return Local(tuple(users), tuple(groups))


def _ages(stdout: bytes) -> tuple[Age, ...]:
    rows = [fields for fields in _rows(stdout) if len(fields) >= 6]
    return tuple(Age(row[1], row[2], minimum=row[4], maximum=row[5]) for row in rows)


def _names(stdout: bytes) -> list[str]:
    return [line for line in stdout.decode("utf-8", "replace").split("\n") if line]


def _rows(stdout: bytes) -> list[list[str]]:
    return [line.split(":") for line in stdout.decode("utf-8", "replace").split("\n") if line]
