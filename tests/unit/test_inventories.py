"""Hosts from other programs' files: whatever a file holds, it is read or refused, line by line."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwatch.errors import InvalidInput
from openwatch.fleet import importing
from openwatch.fleet.inventories import MOST, Entry, Format, Inventory
from openwatch.fleet.inventories_csv import guarded

ALPHABET = "ab1:[]{}=,;\"' \n\r\t-.*?!&<#@%/\\\0\ufeffé"
BITS = st.sampled_from(
    [
        "[web]", "[web:children]", "[web:vars]", "[all]", "ansible_host=192.0.2.1", "web[1:3]", "Host ", "Match ",
        "Include x", "ProxyJump ", "HostName ", "all:\n", "  hosts:\n", "  children:\n", "&a ", "*a", "<<: *a\n", "hostname",
        "ip_address", "\n", " ", ",", ";", '"', "[", "{", "- ", "a", "1", "{{ x }}", "!vault ",
    ]
)  # fmt: skip
FILES = st.one_of(
    st.text(), st.text(st.sampled_from(ALPHABET)), st.lists(BITS, max_size=40).map("".join)
)


def read(form: Format, text: str) -> Inventory | None:
    """What a file comes to; None where it is refused as a whole, and says so in a sentence."""
    try:
        return importing.read(form, text)
    except InvalidInput as refusal:
        assert refusal.message.endswith(".")  # noqa: PT017
        return None


def problem(form: Format, text: str) -> str:
    found = read(form, text)
    assert found is not None
    (entry,) = found.entries
    assert entry.problem is not None
    return entry.problem


@settings(max_examples=300, deadline=None)
@given(form=st.sampled_from(Format), text=FILES)
def test_no_file_is_too_odd_to_be_read_or_refused(form: Format, text: str) -> None:
    found = read(form, text)
    lines = text.count("\n") + text.count("\r") + 1
    for entry in found.entries if found else ():
        assert entry.hostname or entry.problem
        assert 1 <= entry.line <= max(lines, len(found.entries if found else ()))


CELL = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(CELL, min_size=1, max_size=6))
def test_a_cell_comes_back_as_it_was_and_starts_no_formula(values: list[str]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace('"', '""') + '"'

    for value in values:
        assert not guarded(value).startswith(("=", "+", "-", "@", "\t", "\r"))
    rows = [f"h{n},{quoted(guarded(value))}" for n, value in enumerate(values)]
    found = importing.read(Format.CSV, "hostname,comment\r\n" + "\r\n".join(rows))
    assert [entry.description for entry in found.entries] == values


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["h,1", "", "  ", "h", "h,1,2", ",1", 'h,"x', '"h"x,1']), max_size=12
    )
)
def test_every_line_of_a_table_is_a_host_a_problem_or_blank(lines: list[str]) -> None:
    found = importing.read(Format.CSV, "\n".join(["hostname,port", *lines]))
    told = {entry.line for entry in found.entries}
    opened = next((n for n, line in enumerate(lines, 2) if line == 'h,"x'), len(lines) + 2)
    blank = {n for n, line in enumerate(lines, 2) if not line.strip()}
    assert told >= set(range(2, opened)) - blank
    assert not told & {n for n in blank if n < opened}


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Format.CSV, "hostname,ip\n" + "x" * 10_000_000),
        (Format.CSV, 'hostname,ip\n"' + "x\n" * 3_000_000),
        (Format.CSV, "hostname,ip\n" + "a,b\n" * 1_000_000),
        (Format.CSV, "hostname,ip\n" + "\0" * 1000),
        (Format.ANSIBLE_INI, "x" * 10_000_000),
        (Format.ANSIBLE_INI, "a\n" * 1_000_000 + "web[1:9][1:99999]\n"),
        (Format.ANSIBLE_INI, "web" + "[1:10]" * 30),
        (Format.ANSIBLE_INI, "".join(f"[g{n}:children]\ng{n + 1}\n" for n in range(900))),
        (Format.ANSIBLE_INI, "[a:children]\na\n"),
        (Format.ANSIBLE_INI, "[a:children]\nb\n[b:children]\na\n[a]\nx\n"),
        (Format.ANSIBLE_YAML, "x" * 8_000_000),
        (Format.ANSIBLE_YAML, "[" * 1_000_000),
        (Format.ANSIBLE_YAML, "{a: " * 100_000),
        (Format.ANSIBLE_YAML, "a: &a {children: {a: *a}}"),
        (Format.ANSIBLE_YAML, "a: &a {<<: *a}"),
        (Format.SSH_CONFIG, "Host " + "*a" * 120 + "\n" + "Host " + "a " * 4_000_000),
        (Format.SSH_CONFIG, "".join(f"Host h{n}\nProxyJump h{n + 1}\n" for n in range(9000))),
        (Format.SSH_CONFIG, "Host " + "*x" * 60 + "y\n" + "".join(f"Host {'x' * 200}{n}\n" for n in range(5000))),
        (Format.JSON, "[" * 1_000_000),
    ],
)  # fmt: skip
def test_no_file_takes_long(form: Format, text: str) -> None:
    began = time.monotonic()
    found = read(form, text)
    assert time.monotonic() - began < 15
    assert found is None or len(found.entries) <= MOST


def test_aliases_stand_for_no_more_than_an_inventory_has() -> None:
    levels = ["all:\n  vars: &l0 {ansible_port: 22}\n"]
    for n in range(1, 25):
        merged = ", ".join([f"*l{n - 1}"] * 20)
        levels.append(f"g{n}:\n  vars: &l{n}\n    <<: [{merged}]\n")
    with pytest.raises(InvalidInput, match="stand for more than"):
        importing.read(Format.ANSIBLE_YAML, "".join(levels))


def test_what_a_problem_says_repeats_no_line() -> None:
    secret = "hunter2"
    for form, text in (
        (Format.ANSIBLE_INI, f"web ansible_password='{secret}"),
        (Format.ANSIBLE_INI, f"web {secret}"),
        (Format.ANSIBLE_INI, f"web ansible_password={secret} ansible_port=x{secret}"),
        (Format.SSH_CONFIG, f"%{secret}"),
        (Format.CSV, f'hostname,port\nh,"{secret}"x'),
    ):
        assert secret not in problem(form, text)


def test_the_nearer_group_wins_and_all_are_tags() -> None:
    found = importing.read(
        Format.ANSIBLE_INI,
        "[eu]\nweb[01:02] ansible_host=192.0.2.1\n[site:children]\neu\n"
        "[site:vars]\nansible_port=23\nansible_user=far\n[eu:vars]\nansible_user=near\n"
        "[all:vars]\nansible_port=24\n",
    )
    one, two = found.entries
    assert (one.hostname, two.hostname) == ("web01", "web02")
    assert one == Entry(
        line=2,
        hostname="web01",
        ip_address="192.0.2.1",
        port=23,
        username="near",
        tags=("group:site", "group:eu"),
    )


def test_the_first_value_counts_for_openssh_and_a_way_is_whole() -> None:
    found = importing.read(
        Format.SSH_CONFIG,
        "Host db-?\n  Port 23\nHost db-1 !db-9\n  HostName 192.0.2.1\n  Port 24\n"
        "  ProxyJump inner\nHost inner\n  ProxyJump outer\nHost outer\nHost *\n  User ops\n",
    )
    db, inner, outer = found.entries
    assert (db.port, db.ip_address, db.username) == (23, "192.0.2.1", "ops")
    assert (db.jumps, inner.jumps, outer.jumps) == (("outer", "inner"), ("outer",), None)
