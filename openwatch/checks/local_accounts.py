"""local_accounts: the host's own users and groups are in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from openwatch.checks import accounts
from openwatch.checks.accounts import Age, Local, User
from openwatch.checks.answers import failed, passed, shortened, skipped
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict

What = Literal[
    "unique_user_ids",
    "unique_user_names",
    "unique_group_ids",
    "unique_group_names",
    "root_alone_has_user_zero",
    "root_has_group_zero",
    "root_alone_is_group_zero",
    "primary_groups_exist",
    "passwords_are_shadowed",
    "no_empty_passwords",
    "system_accounts_have_no_shell",
    "home_directories_exist",
    "group_is_empty",
    "maximum_age",
    "minimum_age",
]
_AGES: frozenset[What] = frozenset({"maximum_age", "minimum_age"})
# These ship with group 0 and a shell that does one thing only.
_OF_GROUP_ZERO = {"root", "sync", "shutdown", "halt", "operator"}
_NOBODY = 65534
_OF_A_COMMAND = {"sync", "shutdown", "halt"}


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must hold. `days` belongs to the ages and `group` to `group_is_empty`.

    maximum_age: no password may be kept longer than `days`; minimum_age: none may be changed
    sooner. Both look at accounts that have a password, locked ones too.
    """

    what: What
    days: int | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if (self.what in _AGES) != (self.days is not None):
            raise ValueError("`days` belongs to `maximum_age` and `minimum_age`, which need it")
        if (self.what == "group_is_empty") != (self.group is not None):
            raise ValueError("`group` belongs to `group_is_empty`, which needs it")
        if self.days is not None and self.days < 0:
            raise ValueError(f"`days` must not be negative: {self.days}")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for whole files: every rule about accounts reads the same answers."""
    if params.what in _AGES:
        return (accounts.AGES,)
    if params.what == "no_empty_passwords":
        return (accounts.LOCAL, accounts.AGES)
    if params.what == "system_accounts_have_no_shell":
        return (accounts.LOCAL, accounts.DEFAULTS)
    if params.what == "home_directories_exist":
        return (accounts.LOCAL, accounts.DEFAULTS, accounts.HOMELESS)
    return (accounts.LOCAL,)


def judge(  # noqa: PLR0911 - one line a question
    params: Parameters,
    facts: Facts,  # noqa: ARG001
    observations: Observations,
) -> Verdict:
    """Fail with those that are out of order."""
    if params.what in _AGES:
        ages = accounts.ages(observations)
        return ages if isinstance(ages, Verdict) else _aged(params, ages)
    local = accounts.local(observations)
    if params.what == "no_empty_passwords":
        empty = accounts.without_password(observations)
        doubts = [
            one for one in (local, accounts.ages(observations)) if isinstance(one, Verdict)
        ]
        return doubts[0] if doubts and not empty else _none(empty, "no empty password")
    if isinstance(local, Verdict):
        return local
    if params.what in {"system_accounts_have_no_shell", "home_directories_exist"}:
        first = accounts.first_person(observations)
        if isinstance(first, Verdict):
            return first
        if params.what == "home_directories_exist":
            return _homes(local, first, observations)
        return _none((u.name for u in local.users if _has_shell(u, first)), "no shell")
    if params.what == "group_is_empty":
        return _empty(params.group or "", local)
    expected, find = _RULES[params.what]
    return _none(find(local), expected)


def _twice(values: Iterable[str]) -> list[str]:
    return [value for value, times in Counter(values).items() if times > 1]


def _user_zero(local: Local) -> Iterable[str]:
    zero = [user for user in local.users if _is_zero(user.id)]
    root = [] if any(user.name == "root" for user in zero) else ["root has another id"]
    return [*root, *(user.name for user in zero if user.name != "root")]


def _group_zero(local: Local) -> Iterable[str]:
    zero = [user.name for user in local.users if _is_zero(user.group)]
    root = [] if "root" in zero else ["root has another group"]
    return [*root, *(name for name in zero if name not in _OF_GROUP_ZERO)]


def _lost(local: Local) -> Iterable[str]:
    known = {_plain(group.id) for group in local.groups}
    return (f"{u.name} ({u.group})" for u in local.users if _plain(u.group) not in known)


def _plain(number: str) -> str:
    """Return a number in one form: the same id, however it is written."""
    read = accounts.number(number)
    return number if read is None else str(read)


def _is_zero(number: str) -> bool:
    return accounts.number(number) == 0


_RULES: Mapping[str, tuple[str, Callable[[Local], Iterable[str]]]] = {
    "unique_user_ids": ("none twice", lambda local: _twice(_plain(u.id) for u in local.users)),
    "unique_user_names": ("none twice", lambda local: _twice(u.name for u in local.users)),
    "unique_group_ids": (
        "none twice",
        lambda local: _twice(_plain(g.id) for g in local.groups),
    ),
    "unique_group_names": ("none twice", lambda local: _twice(g.name for g in local.groups)),
    "root_alone_has_user_zero": ("root alone", _user_zero),
    "root_has_group_zero": ("root alone", _group_zero),
    "root_alone_is_group_zero": (
        "root alone",
        lambda local: (g.name for g in local.groups if _is_zero(g.id) and g.name != "root"),
    ),
    "primary_groups_exist": ("every group exists", _lost),
    "passwords_are_shadowed": (
        "x, * or ! in the passwd file",
        lambda local: (u.name for u in local.users if not _is_elsewhere(u.password)),
    ),
}


def _is_elsewhere(password: str) -> bool:
    """Tell whether a field of the passwd file holds no password, nor lets in without one."""
    return bool(password) and password.lstrip("!")[:1] in {"", "x", "*"}


def _has_shell(user: User, first: int) -> bool:
    ends_at_once = user.name in _OF_A_COMMAND and user.shell.endswith(f"/{user.name}")
    if user.name == "root" or ends_at_once:
        return False
    number = accounts.number(user.id) or 0
    is_system = number < first or number == _NOBODY
    return is_system and not user.shell.endswith(("/nologin", "/false"))


def _homes(local: Local, first: int, observations: Observations) -> Verdict:
    """Look at those who may log in: a shell of their own and an id of people."""
    homeless = accounts.homeless(observations)
    if isinstance(homeless, Verdict):
        return homeless
    lost = (
        f"{user.name} ({user.home or 'none'})"
        for user in local.users
        if user.name in homeless and first <= (accounts.number(user.id) or 0) != _NOBODY
        if not user.shell.endswith(("/nologin", "/false"))
    )
    return _none(lost, "every home directory exists")


def _empty(name: str, local: Local) -> Verdict:
    groups = [group for group in local.groups if group.name == name]
    if not groups:
        return skipped(Reason.NOT_ASSESSABLE, f"there is no group {name}")
    ids = {_plain(group.id) for group in groups}
    found = [member for group in groups for member in group.members]
    found += [user.name for user in local.users if _plain(user.group) in ids]
    return _none(found, "no member")


def _aged(params: Parameters, ages: Iterable[Age]) -> Verdict:
    limit = params.days or 0
    held = [one for one in ages if one.has_password]
    if params.what == "maximum_age":
        return _none(
            (one.name for one in held if _is_late(one, limit)), f"at most {limit} days"
        )
    early = (one.name for one in held if not _is_number(one.minimum, limit, None))
    return _none(early, f"at least {limit} days")


def _is_late(age: Age, limit: int) -> bool:
    return not _is_number(age.maximum, 1, limit)


def _is_number(text: str, lowest: int, highest: int | None) -> bool:
    if not text.isdecimal():
        return False
    return int(text) >= lowest and (highest is None or int(text) <= highest)


def _none(names: Iterable[str], expected: str) -> Verdict:
    wrong = sorted(set(names))
    if not wrong:
        return passed(expected, expected)
    actual = shortened(", ".join(wrong), 500)
    return failed(Reason.DIFFERS, expected, actual, shortened(", ".join(wrong)))


METHOD = Method("local_accounts", Parameters, probes, judge)
