"""Replay: the same rules say the same again, others say what would flip, nobody is asked."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from openwatch import clock, errors
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Lane, Status
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database
from openwatch.fleet import hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import Transport
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.rules.load import load, read
from openwatch.rules.types import Corpus
from openwatch.scans import agreement, replay, store
from openwatch.scans.jobs import Scanner
from openwatch.vault import Vault

_RULE = """
id: {id}
title: A test
description: A test.
rationale: A test.
severity: high
category: test
implementations:
  - default: true
    check: {check}
"""


def write(folder: Path, **checks: str) -> Corpus:
    folder.mkdir(exist_ok=True)
    for name, check in checks.items():
        identity = name.replace("_", "-")
        (folder / f"{identity}.yml").write_text(_RULE.format(id=identity, check=check))
    corpus = read([folder], {})
    assert not corpus.problems, corpus.problems
    return corpus


def scan(
    db: Database, corpus: Corpus, host_id: object = None, lane: Lane = Lane.CONFIG
) -> dt.datetime:
    """Scan this machine, and return an instant after it."""
    vault = Vault([b"v" * 32])
    if host_id is None:
        new = NewHost(hostname="m", ip_address="127.0.0.1")
        host_id = hosts.create(db, new, transport=Transport.LOCAL, scope=EVERYTHING).id
    store.request(db, host_id, trigger=store.Trigger.ON_DEMAND, lane=lane, scope=EVERYTHING)  # type: ignore[arg-type]
    claim = queue.claim(db, "w", [store.JOB, store.WALK], 60)
    assert claim is not None
    config = Config(scan=Scan(allow_local=True))
    made = Scanner(db=db, vault=vault, config=config, corpus=corpus, signer=signer(db, vault))
    made.scan(claim)
    return clock.now() + dt.timedelta(seconds=5)


def judged(db: Database, corpus: Corpus, at: dt.datetime) -> replay.Replay:
    (stored,) = replay.hosts(db, at)
    return replay.replay(corpus, stored)


@pytest.mark.slow
def test_the_same_rules_say_the_same_of_a_real_machine(database: Database) -> None:
    corpus = load()
    found = judged(database, corpus, scan(database, corpus))
    assert found.flips == ()
    assert found.gone == ()
    assert found.unchanged > 100
    assert len(found.scans) == 1
    assert {one.lane for one in found.missing} == {Lane.FILESYSTEM}  # which nobody has scanned
    at = scan(database, corpus, hosts.listed(database, scope=EVERYTHING)[0].id, Lane.FILESYSTEM)
    found = judged(database, corpus, at)
    assert (found.flips, found.gone, found.missing) == ((), (), ())
    assert len(found.scans) == 2


def test_other_parameters_say_what_would_flip(database: Database, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("[a]\nlimit = 7\n")
    check = "{{method: config_value, path: {}, section: a, key: limit, expected: '{}'}}"
    file = tmp_path / "conf"
    at = scan(database, write(tmp_path / "one", limit=check.format(file, 7)))
    file.unlink()  # nobody looks again
    found = judged(database, write(tmp_path / "two", limit=check.format(file, 8)), at)
    (flip,) = found.flips
    assert (flip.rule, flip.was, flip.now) == ("limit", Status.PASS, Status.FAIL)
    assert "7" in flip.actual
    assert not flip.masked
    assert judged(database, write(tmp_path / "one"), at).flips == ()


def test_a_question_nobody_asked_is_no_verdict(database: Database, tmp_path: Path) -> None:
    command = "{{method: command, run: '{}', expected_exit: 0}}"
    at = scan(database, write(tmp_path / "one", first=command.format("true")))
    found = judged(
        database, write(tmp_path / "two", second=command.format("echo new question")), at
    )
    assert found.flips == ()
    assert found.gone == ("first",)
    (missing,) = found.missing
    assert missing.rule == "second"
    assert "echo new question" in missing.commands[0]


def test_a_failed_check_decides_an_and_whatever_was_not_asked(
    database: Database, tmp_path: Path
) -> None:
    old = "{method: command, run: 'exit 1', expected_exit: 0}"
    new = "{method: command, run: 'echo never asked', expected_exit: 0}"
    at = scan(database, write(tmp_path / "one", both=old))
    both = f"{{checks: [{old}, {new}]}}"
    found = judged(database, write(tmp_path / "two", both=both), at)
    assert found.missing == ()
    assert found.unchanged == 1
    fine = "{method: command, run: 'true', expected_exit: 0}"
    at = scan(
        database,
        write(tmp_path / "three", both=fine),
        hosts.listed(database, scope=EVERYTHING)[0].id,
    )
    both = f"{{checks: [{fine}, {new}]}}"
    (missing,) = judged(database, write(tmp_path / "four", both=both), at).missing
    assert missing.rule == "both"


def test_a_question_with_other_limits_is_the_same_question(
    database: Database, tmp_path: Path
) -> None:
    rule = (
        "{{method: command, run: 'echo yes', expected_stdout: 'yes', probe: {{seconds: {}}}}}"
    )
    at = scan(database, write(tmp_path / "one", limits=rule.format(5)))
    found = judged(database, write(tmp_path / "two", limits=rule.format(9)), at)
    assert (found.missing, found.unchanged) == ((), 1)


def test_a_rule_that_was_not_judged_then_is_told_as_new_and_masked_answers_are_told(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "app.ini").write_text("[db]\npassword = Winter2024\n")
    show = f"{{method: command, run: 'cat {tmp_path}/app.ini', expected_stdout: '%s'}}"
    at = scan(database, write(tmp_path / "one", shown=show % "Winter2024"))
    found = judged(database, write(tmp_path / "one"), at)
    (flip,) = found.flips  # the answer that is kept no longer holds what it held
    assert (flip.was, flip.now, flip.masked) == (Status.PASS, Status.FAIL, True)
    other = write(tmp_path / "two", another=show % "db")
    (flip,) = judged(database, other, at).flips
    assert (flip.rule, flip.was, flip.now) == ("another", None, Status.PASS)


def test_the_last_scan_by_the_date_answers_and_a_host_without_one_says_so(
    database: Database, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.write_text("old\n")
    corpus = write(
        tmp_path / "one",
        state=f"{{method: command, run: 'cat {state}', expected_stdout: 'old'}}",
    )
    before = clock.now()
    scan(database, corpus)
    between = clock.now()
    state.write_text("new\n")
    machine = hosts.listed(database, scope=EVERYTHING)[0]
    after = scan(database, corpus, machine.id)
    other = write(
        tmp_path / "two",
        state=f"{{method: command, run: 'cat {state}', expected_stdout: 'new'}}",
    )
    assert list(agreement.disagreements(database, machine.key)) == []  # at either instant
    assert [f.now for f in judged(database, other, between).flips] == [Status.FAIL]
    assert [f.now for f in judged(database, other, after).flips] == [Status.PASS]
    hosts.create(database, NewHost(hostname="new", ip_address="192.0.2.1"), scope=EVERYTHING)
    named = {s.name: s for s in replay.hosts(database, after)}
    assert named["new"].scanned_at is None
    assert replay.replay(other, named["new"]).scans == ()
    assert list(replay.hosts(database, before)) == []
    assert [s.name for s in replay.hosts(database, after, str(machine.id))] == ["m"]
    with pytest.raises(errors.NotFound, match="nowhere"):
        list(replay.hosts(database, after, "nowhere"))


def test_each_lane_answers_with_its_own_last_scan(database: Database, tmp_path: Path) -> None:
    walk = "{method: command, run: 'echo walked', expected_stdout: '%s', probe: {lane: filesystem}}"
    corpus = write(
        tmp_path / "one",
        near="{method: command, run: 'true', expected_exit: 0}",
        far=walk % "walked",
    )
    at = scan(database, corpus)
    found = judged(database, corpus, at)
    assert [(m.rule, m.lane) for m in found.missing] == [("far", Lane.FILESYSTEM)]
    at = scan(database, corpus, hosts.listed(database, scope=EVERYTHING)[0].id, Lane.FILESYSTEM)
    found = judged(database, corpus, at)
    assert (found.missing, found.flips, found.unchanged) == ((), (), 2)
    assert len(found.scans) == 2
    assert (
        list(agreement.disagreements(database, hosts.listed(database, scope=EVERYTHING)[0].key))
        == []
    )
    (flip,) = judged(database, write(tmp_path / "two", far=walk % "run"), at).flips
    assert (flip.rule, flip.now) == ("far", Status.FAIL)


def test_a_dependency_that_was_not_asked_leaves_its_dependents_to_their_own_answers(
    database: Database, tmp_path: Path
) -> None:
    own = "{method: command, run: 'true', expected_exit: 0}"
    at = scan(database, write(tmp_path / "one", dependent=own))
    folder = tmp_path / "two"
    write(
        folder, base="{method: command, run: 'echo unasked', expected_exit: 0}", dependent=own
    )
    path = folder / "dependent.yml"
    path.write_text(path.read_text() + "depends_on: [base]\n")
    found = judged(database, read([folder], {}), at)
    assert [m.rule for m in found.missing] == ["base"]
    assert (found.flips, found.unchanged) == ((), 1)
