"""What changed between two looks at a host: each change once, none of what nobody changed."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openwatch.audit.codes import Code
from openwatch.fleet.changes import SEVERITIES, changes
from openwatch.fleet.inventory import Category, settled

THEN = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
NOW = dt.datetime(2026, 3, 1, 13, tzinfo=dt.UTC)


def told(
    before: dict[Category, Any],
    after: dict[Category, Any],
    then: dt.datetime = THEN,
    now: dt.datetime = NOW,
) -> list[tuple[Code, str]]:
    return [(one.code, one.subject) for one in changes(before, after, then, now)]


def codes(before: Any, after: Any, category: Category) -> list[tuple[Code, str]]:
    return told({category: before}, {category: after})


def port(
    number: int, protocol: str = "tcp", address: str = "0.0.0.0", **more: Any
) -> dict[str, Any]:
    return {"protocol": protocol, "address": address, "port": number, **more}


def test_what_was_not_known_before_is_no_change() -> None:
    after = {Category.PACKAGES: {"bash.amd64": ["5.2"]}, Category.USERS: {"a": {"uid": 1}}}
    assert told({}, after) == []


def test_what_is_not_known_now_is_no_change() -> None:
    assert told({Category.PACKAGES: {"bash.amd64": ["5.2"]}}, {}) == []


def test_ten_updates_of_one_look_are_ten_changes() -> None:
    before = {f"p{n}.amd64": ["1"] for n in range(10)}
    after = {f"p{n}.amd64": ["2"] for n in range(10)}
    found = changes({Category.PACKAGES: before}, {Category.PACKAGES: after}, THEN, NOW)
    assert {one.code for one in found} == {Code.SYSTEM_PACKAGE_UPDATED}
    assert len({one.subject for one in found}) == 10
    assert found[0].detail["prior"] == "1"
    assert found[0].detail["current"] == "2"


def test_a_kernel_beside_another_is_installed_and_the_oldest_is_removed() -> None:
    name = "kernel-core.x86_64"
    assert codes({name: ["5-1"]}, {name: ["5-1", "5-2"]}, Category.PACKAGES) == [
        (Code.SYSTEM_PACKAGE_INSTALLED, f"{name} 5-2")
    ]
    assert codes({name: ["5-1", "5-2"]}, {name: ["5-2", "5-3"]}, Category.PACKAGES) == [
        (Code.SYSTEM_PACKAGE_INSTALLED, f"{name} 5-3"),
        (Code.SYSTEM_PACKAGE_REMOVED, f"{name} 5-1"),
    ]


def test_the_same_package_of_two_architectures_is_two() -> None:
    before = {"libc6.amd64": ["2.36"], "libc6.i386": ["2.36"]}
    after = {"libc6.amd64": ["2.37"], "libc6.i386": ["2.36"]}
    assert codes(before, after, Category.PACKAGES) == [
        (Code.SYSTEM_PACKAGE_UPDATED, "libc6.amd64")
    ]


def test_users_come_and_go_and_are_locked() -> None:
    def password(*, locked: bool) -> dict[str, Any]:
        return {"locked": locked, "password_expires_at": None}

    before = {
        Category.USERS: {"gone": {"uid": 1}, "stays": {"uid": 2}, "freed": {"uid": 3}},
        Category.PASSWORDS: {"stays": password(locked=False), "freed": password(locked=True)},
    }
    after = {
        Category.USERS: {"new": {"uid": 9}, "stays": {"uid": 2}, "freed": {"uid": 3}},
        Category.PASSWORDS: {
            "stays": password(locked=True),
            "freed": password(locked=False),
            "new": password(locked=True),
        },
    }
    assert told(before, after) == [
        (Code.ACCOUNT_USER_CREATED, "new"),
        (Code.ACCOUNT_USER_DELETED, "gone"),
        (Code.ACCOUNT_USER_UNLOCKED, "freed"),
        (Code.ACCOUNT_USER_LOCKED, "stays"),
    ]


def test_joining_a_group_that_sudoers_names_is_a_privilege() -> None:
    before = {Category.GROUPS: {"ops": ["a"], "video": []}, Category.SUDO_GROUPS: ["ops"]}
    after = {
        Category.GROUPS: {"ops": ["a", "b"], "video": ["b"]},
        Category.SUDO_GROUPS: ["ops"],
    }
    assert told(before, after) == [(Code.ACCOUNT_USER_PRIVILEGED_GROUP_ADDED, "b ops")]


def test_a_group_that_sudoers_names_from_now_on_gives_its_members_the_privilege() -> None:
    groups = {"ops": ["a"], "wheel": ["root"]}
    before = {Category.GROUPS: groups, Category.SUDO_GROUPS: ["wheel"]}
    after = {Category.GROUPS: groups, Category.SUDO_GROUPS: ["ops", "wheel"]}
    assert told(before, after) == [(Code.ACCOUNT_USER_PRIVILEGED_GROUP_ADDED, "a ops")]
    assert told({Category.GROUPS: groups}, after) == []


def test_a_password_comes_to_its_end_by_the_date_alone() -> None:
    def facts(end: str) -> dict[Category, Any]:
        return {Category.PASSWORDS: {"a": {"locked": False, "password_expires_at": end}}}

    day = dt.timedelta(days=1)
    same = facts("2026-03-15")
    assert told(same, same, THEN - day, NOW) == [(Code.ACCOUNT_PASSWORD_EXPIRING, "a")]
    assert told(same, same, THEN, NOW) == []
    same = facts("2026-03-01")
    assert told(same, same, THEN - day, NOW) == [(Code.ACCOUNT_PASSWORD_EXPIRED, "a")]
    assert told(same, same, THEN, NOW) == []


def test_keys_of_accounts_come_and_go() -> None:
    before = {"root": {"SHA256:a": "ssh-rsa", "SHA256:b": "ssh-rsa"}}
    after = {"root": {"SHA256:b": "ssh-rsa"}, "x": {"SHA256:a": "ssh-rsa"}}
    assert codes(before, after, Category.SSH_KEYS) == [
        (Code.ACCOUNT_SSH_KEY_REMOVED, "root SHA256:a"),
        (Code.ACCOUNT_SSH_KEY_ADDED, "x SHA256:a"),
    ]


def test_a_port_for_everybody_is_another_than_one_for_the_host_itself() -> None:
    before, after = [port(5432, address="127.0.0.1")], [port(5432)]
    assert codes(before, after, Category.LISTENING_PORTS) == [
        (Code.SECURITY_PORT_OPENED, "tcp 0.0.0.0:5432"),
        (Code.SECURITY_PORT_CLOSED, "tcp 127.0.0.1:5432"),
    ]


def test_a_client_socket_is_told_once_it_was_seen_twice() -> None:
    ports = Category.LISTENING_PORTS
    first = settled({}, {ports: [port(22)]})
    second = settled(first, {ports: [port(22), port(40000, "udp", passing=True)]})
    assert told(first, second) == []
    third = settled(second, {ports: [port(22), port(40000, "udp", passing=True)]})
    assert told(second, third) == [(Code.SECURITY_PORT_OPENED, "udp 0.0.0.0:40000")]
    gone = settled(second, {ports: [port(22)]})
    assert told(second, gone) == []
    at_first = settled({}, {ports: [port(40000, "udp", passing=True)]})
    again = settled(at_first, {ports: [port(40000, "udp", passing=True)]})
    assert told(at_first, again) == []


def test_a_service_between_two_states_has_the_one_before() -> None:
    services = Category.SERVICES
    before = {services: {"a.service": "active", "b.service": "inactive"}}
    after = settled(before, {services: {"a.service": "changing", "b.service": "changing"}})
    assert told(before, after) == []


def test_services_start_stop_and_fail() -> None:
    before = {"a": "active", "b": "inactive", "c": "active", "d": "failed", "e": "active"}
    after = {"a": "failed", "b": "active", "c": "inactive", "d": "inactive", "f": "failed"}
    assert codes(before, after, Category.SERVICES) == [
        (Code.SYSTEM_SERVICE_FAILED, "a"),
        (Code.SYSTEM_SERVICE_STARTED, "b"),
        (Code.SYSTEM_SERVICE_STOPPED, "c"),
        (Code.SYSTEM_SERVICE_STOPPED, "e"),
        (Code.SYSTEM_SERVICE_FAILED, "f"),
    ]


def test_another_device_at_a_mount_point_is_two_changes() -> None:
    assert codes({"/": "a", "/srv": "b"}, {"/": "a", "/srv": "c"}, Category.MOUNTS) == [
        (Code.SYSTEM_FILESYSTEM_UNMOUNTED, "/srv"),
        (Code.SYSTEM_FILESYSTEM_MOUNTED, "/srv"),
    ]


def test_a_file_that_could_not_be_read_keeps_its_digest() -> None:
    config = Category.CONFIG
    before = {config: {"/etc/shadow": "a", "/etc/sudoers.d/x": "b", "/etc/fstab": "c"}}
    seen = {"/etc/shadow": None, "/etc/sudoers.d/*": None, "/etc/fstab": "d"}
    after = settled(before, {config: seen})
    assert after[config] == {
        "/etc/shadow": "a",
        "/etc/sudoers.d/x": "b",
        "/etc/fstab": "d",
    }
    assert told(before, after) == [(Code.SYSTEM_CONFIG_FILE_CHANGED, "/etc/fstab")]


def test_a_host_was_restarted_with_another_kernel() -> None:
    before = {
        Category.UPTIME: {"seconds": 100, "boot_id": "a"},
        Category.KERNEL: "6.1",
        Category.REBOOT: True,
    }
    after = {
        Category.UPTIME: {"seconds": 5000, "boot_id": "b"},
        Category.KERNEL: "6.2",
        Category.REBOOT: False,
    }
    assert told(before, after) == [
        (Code.SYSTEM_KERNEL_UPDATED, ""),
        (Code.SYSTEM_REBOOT_COMPLETED, ""),
    ]
    assert told(after, before)[1] == (Code.SYSTEM_REBOOT_REQUIRED, "")


def test_rules_of_the_packet_filter_change_and_no_engine_is_not_no_rules() -> None:
    none = {"engine": "none", "rules": None, "digest": None}
    empty = {"engine": "nftables", "rules": 0, "digest": "a"}
    assert codes(none, empty, Category.FIREWALL) == [(Code.SECURITY_FIREWALL_RULE_CHANGED, "")]
    assert codes(empty, empty, Category.FIREWALL) == []


NAMES = st.text("ab.", min_size=1, max_size=3)
FACTS = st.fixed_dictionaries(
    {},
    optional={
        Category.PACKAGES: st.dictionaries(
            NAMES, st.lists(NAMES, min_size=1, max_size=3, unique=True).map(sorted)
        ),
        Category.SERVICES: st.dictionaries(
            NAMES, st.sampled_from(["active", "inactive", "failed", "changing"])
        ),
        Category.MOUNTS: st.dictionaries(NAMES, NAMES),
        Category.CONFIG: st.dictionaries(NAMES, st.none() | NAMES),
        Category.USERS: st.dictionaries(NAMES, st.just({"uid": 1})),
        Category.GROUPS: st.dictionaries(
            st.sampled_from(["wheel", "ops", "sudo"]), st.lists(NAMES, max_size=3)
        ),
        Category.SUDO_GROUPS: st.lists(st.sampled_from(["wheel", "ops"]), unique=True),
        Category.SSH_KEYS: st.dictionaries(NAMES, st.dictionaries(NAMES, NAMES)),
        Category.LISTENING_PORTS: st.lists(
            st.builds(
                port,
                st.integers(1, 3),
                st.sampled_from(["tcp", "udp"]),
                passing=st.booleans(),
            ),
            max_size=4,
        ),
        Category.PASSWORDS: st.dictionaries(
            NAMES,
            st.fixed_dictionaries(
                {
                    "locked": st.booleans(),
                    "password_expires_at": st.none()
                    | st.sampled_from(["2026-02-01", "2026-03-01", "2026-03-10", "2027-01-01"]),
                }
            ),
        ),
        Category.REBOOT: st.booleans(),
        Category.KERNEL: NAMES,
    },
)


@given(FACTS, FACTS)
def test_each_change_has_a_subject_of_its_own(before: Any, after: Any) -> None:
    found = told(settled({}, before), settled(settled({}, before), after))
    assert len(found) == len(set(found))
    assert all(code in SEVERITIES for code, _ in found)


@given(FACTS, FACTS)
def test_the_same_again_is_no_change(before: Any, after: Any) -> None:
    first = settled({}, before)
    second = settled(first, after)
    assert told(second, second, NOW, NOW) == []


@given(FACTS)
def test_the_first_look_is_silent(found: Any) -> None:
    assert told({}, settled({}, found)) == []


@given(st.text(min_size=400, max_size=5000))
def test_a_long_subject_is_short_enough_for_an_index_and_still_its_own(path: str) -> None:
    found = told({Category.MOUNTS: {}}, {Category.MOUNTS: {path: "a", path + "b": "a"}})
    assert len(found) == len(set(found)) == 2
    assert all(len(subject.encode("utf-8", "replace")) < 2600 for _, subject in found)
