"""That the rules are others than at the last start is said once, with both hashes."""

from __future__ import annotations

import threading

import msgspec
import pytest

from openwatch.db import Database
from openwatch.db.queries import Query
from openwatch.rules import change
from openwatch.rules.types import Corpus

_AUDITED = Query("audited", "every event of the audit trail", "SELECT * FROM audit_events")


def corpus(hash_: bytes) -> Corpus:
    return Corpus({}, {}, (), b"", hash_)


@pytest.fixture
def events(monkeypatch):
    told: list[dict[str, object]] = []

    def event(_logger: object, _level: int, name: str, _text: str, **fields: object) -> None:
        told.append({"event": name, **fields})

    monkeypatch.setattr("openwatch.log.event", event)
    return told


def test_a_change_is_told_once_with_the_old_and_the_new_hash(database: Database, events):
    assert not change.note(database, corpus(b"\1"))
    assert not change.note(database, corpus(b"\1"))
    assert change.note(database, corpus(b"\2"))
    assert not change.note(database, corpus(b"\2"))
    assert events == [{"event": "rules.changed", "old": "01", "new": "02"}]
    (row,) = database.rows(_AUDITED)
    assert (row["action"], row["severity"]) == ("system.config.changed", "warning")
    assert (row["actor_type"], row["resource_type"], row["resource_id"]) == (
        "system",
        "rules",
        "02",
    )
    assert row["detail"] == {
        "config_key": "rules",
        "old_value": "01",
        "new_value": "02",
        "rules": 0,
    }


def test_of_many_workers_that_start_with_new_rules_one_tells(database: Database, events):
    change.note(database, corpus(b"\1"))
    start = threading.Barrier(8)
    told: list[bool] = []

    def work() -> None:
        with database.scope():
            start.wait()
            told.append(change.note(database, corpus(b"\2")))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False] * 7 + [True]
    assert msgspec.json.encode(events).count(b"rules.changed") == 1
    assert len(database.rows(_AUDITED)) == 1
