"""What a host prints in answer to one question never changes the verdict of a rule that asks another.

The whole way is tried: files and commands of a real machine, a real shell, the stream, its frames,
the groups of files that are asked together, the judges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openwatch.checks.types import Facts, Status, Verdict
from openwatch.rules import load as loading
from openwatch.rules.types import Corpus
from openwatch.scans.collect import Conversation
from openwatch.scans.judge import judge
from openwatch.scans.plan import plan
from openwatch.ssh.local import local_session
from openwatch.ssh.types import Privilege

FACTS = Facts(family="debian", version="12", root=True)
RULE = """\
id: {id}
title: t
description: d
rationale: r
severity: low
category: system
implementations: [{{default: true, check: {check}}}]
---
"""
# Each file is asked about in four ways; those of an even number meet their rules, the others do not.
CHECKS = {
    "content": "{{method: file_content, path: {path}, expected_content: wanted}}",
    "match": "{{method: file_content_match, path: {path}, pattern: '^wanted$'}}",
    "value": "{{method: config_value, path: {path}, key: key, expected: wanted}}",
    "command": "{{method: command, run: cat {path}; cat {path} >&2, expected_stdout: wanted}}",
}
GOOD, BAD = b"key = wanted\nwanted\n", b"key = other\nother\n"
NUMBERS = range(5)
WORDS = [
    *(
        b"OW",
        b"OW" + b"0123456789abcdef" * 2,
        b"OW1",
        b"OW1z\n",
        b"ow 3\n",
        b"ow_n",
        b"\n",
        b"\0",
    ),
    *(
        b" hello gzip 10 10 10 500 100.00 dash\n",
        b" bye\n",
        b" end\n",
        b" 0 0 1.00\n",
        b" 3 127 9\n",
    ),
    *(
        b"\x1f\x8b\x08",
        b"\xff\xfe",
        b"\r",
        b"'",
        b'"',
        b"$(exit 9)",
        b"`",
        b"\\",
        b"\nD exit 9\n",
    ),
    *(GOOD, BAD, b"Permission denied\n", b": not found\n", b"sh: 1: x: not found\n"),
    *(b"LC_ALL=C\0PATH=/bin\0", b"cat: /etc/x: No such file or directory\n", b"x" * 70_000),
]
HOSTILE = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=40)), max_size=12)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    folder = tmp_path_factory.mktemp("machine")
    rules = folder / "rules"
    rules.mkdir()
    for kind, check in CHECKS.items():
        written = [
            RULE.format(id=f"{kind}-{n}", check=check.format(path=folder / f"f{n}"))
            for n in NUMBERS
        ]
        (rules / f"{kind}.yml").write_text("".join(written))
    corpus = loading.read([rules], {})
    assert corpus.problems == ()
    assert len(corpus.rules) == len(CHECKS) * len(NUMBERS)
    return folder, corpus


def verdicts(
    folder: Path, corpus: Corpus, others: Mapping[str, bytes]
) -> Mapping[str, Verdict]:
    for n in NUMBERS:
        content = others.get(f"f{n}", BAD if n % 2 else GOOD)
        (folder / f"f{n}").write_bytes(content)
    made = plan(corpus, FACTS)
    with contextlib.closing(local_session("localhost")) as session:
        collected = Conversation(session, Privilege.ROOT).ask(made.probes)
    rulings = judge(made, FACTS, collected.observations)
    return {name: ruling.verdict for name, ruling in rulings.items()}


def test_the_rules_tell_good_from_bad(machine: tuple[Path, Corpus]) -> None:
    for name, verdict in verdicts(*machine, {}).items():
        wanted = Status.FAIL if int(name[-1]) % 2 else Status.PASS
        assert verdict.status is wanted, (name, verdict)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(HOSTILE, min_size=1, max_size=2), st.permutations(NUMBERS))
def test_what_is_printed_for_one_question_decides_no_other(
    machine: tuple[Path, Corpus], printed: list[list[bytes]], order: list[int]
) -> None:
    before = verdicts(*machine, {})
    hostile = {f"f{n}": b"".join(words) for n, words in zip(order, printed, strict=False)}
    after = verdicts(*machine, hostile)
    for name, verdict in after.items():
        if f"f{name[-1]}" not in hostile:
            assert verdict == before[name], name
