"""The trail under many writers and under every way of tampering with it."""

from __future__ import annotations

import datetime as dt
import re
import threading
from pathlib import Path

import pytest

from openwatch import errors
from openwatch.audit import chain, trail
from openwatch.audit.codes import Code
from openwatch.audit.sealer import Sealer
from openwatch.audit.types import Actor, ActorType, Resource
from openwatch.audit.verify import Report, verify
from openwatch.db import Database, Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.keys import signing
from openwatch.vault import Vault

VAULT = Vault([b"k" * 32])
WHO = Actor(ActorType.USER, "01890a5d-ac96-774b-bcce-b302099a8057", "anna", "192.0.2.1")


def text(sql: str) -> Query:
    return Query("test", "a statement of this test", sql)


def write(db: Database, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        trail.record(db, Code.HOST_UPDATED, actor=WHO, resource=Resource("host", f"h{n}"), n=n)


def seal(db: Database) -> chain.Checkpoint | None:
    chain.seal(db)
    return chain.checkpoint(db, signing.signer(db, VAULT, chain.PURPOSE))


def verified(db: Database, *trusted: str) -> Report:
    keys = {key.id: key.public_key for key in signing.public_keys(db)}

    def is_signed(key: str, message: bytes, signature: bytes) -> bool | None:
        return None if key not in keys else signing.is_signed(keys[key], message, signature)

    return verify(db, is_signed, trusted)


def tamper(db: Database, *statements: str) -> None:
    """Change what is stored, as somebody who owns the tables can."""
    with db.atomic():
        db.run("SET LOCAL session_replication_role = replica")
        for statement in statements:
            assert db.run(statement) > 0, statement


def test_a_row_is_never_changed_or_removed(database: Database) -> None:
    write(database, 1)
    seal(database)
    for table in ("audit_events", "audit_seals", "audit_checkpoints"):
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(errors.StorageError, match="never changed or removed"):
                database.run(statement)
    with pytest.raises(errors.StorageError, match="never changed or removed"):
        database.run("UPDATE audit_events SET actor_label = 'nobody'")


def test_a_sealed_trail_is_consistent_and_authentic_where_its_key_is_trusted(
    database: Database,
) -> None:
    assert seal(database) is None
    write(database, 7)
    made = seal(database)
    assert made is not None
    assert made.count == 7
    assert seal(database) is None
    write(database, 2, 7)
    chain.seal(database)
    write(database, 1, 9)
    report = verified(database, made.signing_key)
    assert report.problems == ()
    assert (report.events, report.unsigned, report.waiting) == (9, 2, 1)
    assert report.is_authenticated
    assert report.signed_by == (made.signing_key,)
    untrusted = verified(database)
    assert not untrusted.is_broken
    assert not untrusted.is_authenticated
    assert untrusted.unproven == 7


def test_what_nobody_seals_or_signs_for_in_five_minutes_is_not_authentic(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(database, 3)
    made = seal(database)
    assert made is not None
    write(database, 2, 3)
    assert verified(database, made.signing_key).is_authenticated
    monkeypatch.setattr("openwatch.audit.verify._PATIENCE", dt.timedelta(0))
    assert verified(database, made.signing_key).unproven == 2
    chain.seal(database)
    report = verified(database, made.signing_key)
    assert (report.unproven, report.is_authenticated, report.problems) == (2, False, ())


TAMPERING = {
    "an edited label": (
        ["UPDATE audit_events SET actor_label = 'eve' WHERE resource_id = 'h3'"],
        r"event \S+ \(place 4, host.updated of 20\S+\) was changed after it was sealed",
    ),
    "an edited detail": (
        ["""UPDATE audit_events SET detail = '{"n": 5}' WHERE resource_id = 'h4'"""],
        r"event \S+ \(place 5, host.updated",
    ),
    "an edited time": (
        [("UPDATE audit_events SET occurred_at = occurred_at - interval '1 microsecond'"
         " WHERE resource_id = 'h2'")],
        r"\(place 3, host.updated",
    ),
    "a removed event": (
        ["DELETE FROM audit_events WHERE resource_id = 'h3'"],
        r"event \S+ \(place 4\) was removed",
    ),
    "an event removed with its seal": (
        ["DELETE FROM audit_seals WHERE position = 4",
         "DELETE FROM audit_events WHERE resource_id = 'h3'"],
        r"the chain has no place 4: it was removed",
    ),
    "the end cut off, seals and events": (
        ["DELETE FROM audit_seals WHERE position > 5",
         "DELETE FROM audit_events WHERE resource_id IN ('h5', 'h6', 'h7')"],
        (r"the end was cut off: there were 8 events on 20\S+, and 5 are left; the first that is"
        r" missing had place 6"),
    ),
    "everything but the checkpoints": (
        ["DELETE FROM audit_seals", "DELETE FROM audit_events"],
        r"the end was cut off: there were 4 events",
    ),
    "an event that was put in": (
        [("INSERT INTO audit_events (id, actor_type, action, severity, outcome)"
         " VALUES (gen_random_uuid(), 'user', 'auth.logout', 'info', 'success')")],
        r"has no place in the chain",
    ),
    "a checkpoint": (
        ["UPDATE audit_checkpoints SET at = at + interval '1 day' WHERE count = 4"],
        r"over 4 events: the signature is not that of key",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERING)
def test_what_was_tampered_with_is_named_first(database: Database, name: str) -> None:
    write(database, 4)
    seal(database)
    write(database, 4, 4)
    made = seal(database)
    assert made is not None
    statements, expected = TAMPERING[name]
    tamper(database, *statements)
    report = verified(database, made.signing_key)
    assert report.is_broken
    assert not report.is_authenticated
    assert re.search(expected, report.problems[0]), report.problems


def test_a_chain_that_was_computed_anew_is_not_what_was_signed(database: Database) -> None:
    write(database, 3)
    seal(database)
    write(database, 5, 3)
    seal(database)
    tamper(
        database,
        "UPDATE audit_events SET actor_label = 'eve' WHERE resource_id = 'h4'",
        "DELETE FROM audit_seals WHERE position > 4",
        "INSERT INTO audit_unsealed SELECT number FROM audit_events e"
        " WHERE NOT EXISTS (SELECT 1 FROM audit_seals s WHERE s.event = e.id)",
    )
    chain.seal(database)
    report = verified(database)
    assert re.search(r"events 4 to 8 are not those that were there then", report.problems[0])


def test_a_process_that_saw_the_chain_does_not_sign_for_another_one(database: Database) -> None:
    signer = signing.signer(database, VAULT, chain.PURPOSE)
    sealer = Sealer(database, signer, checkpoint_every=0)
    write(database, 6)
    sealer.turn()
    tamper(
        database,
        "DELETE FROM audit_checkpoints",
        "DELETE FROM audit_seals WHERE position > 2",
        "DELETE FROM audit_events WHERE resource_id IN ('h2', 'h3', 'h4', 'h5')",
    )
    write(database, 3, 10)
    with pytest.raises(errors.EvidenceDamaged, match="somebody has changed it"):
        sealer.turn()


def test_a_transaction_that_commits_late_comes_late(database: Database, dsn: str) -> None:
    late = open_database(dsns.parse(dsn))
    try:
        with late.scope():
            with late.atomic():
                write(late, 1, 100)
                write(database, 3)
                assert chain.seal(database) == 3
            assert chain.seal(database) == 1
    finally:
        late.close_all()
    seal(database)
    report = verified(database)
    assert report.problems == ()
    assert report.events == 4


def test_a_rolled_back_event_leaves_nothing_and_no_gap(database: Database) -> None:
    write(database, 1)

    def fail() -> None:
        with database.atomic():
            write(database, 5, 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    write(database, 1, 6)
    seal(database)
    assert verified(database).problems == ()
    assert chain.head(database).position == 2


def test_many_writers_and_sealers_lose_nothing(database: Database, dsn: str) -> None:
    signer = signing.signer(database, VAULT, chain.PURPOSE)
    pool = open_database(dsns.parse(dsn), max_connections=14)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(40):
                with pool.scope(), pool.atomic():
                    write(pool, 1, number * 1000 + n)
                    if n % 7 == 3:
                        write(pool, 2, number * 1000 + 500 + 2 * n)
        except BaseException as error:
            failures.append(error)

    try:
        with (
            Sealer(pool, signer, every=0.02, checkpoint_every=0.05),
            Sealer(pool, signer, every=0.03, checkpoint_every=0.05),
        ):
            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        pool.close_all()
    assert not failures
    wanted = 8 * (40 + 2 * 6)
    report = verified(database, signer.id)
    assert report.problems == ()
    assert (report.events, report.unsigned, report.waiting) == (wanted, 0, 0)
    assert report.is_authenticated
    assert report.checkpoints >= 1


def test_the_thread_outlives_a_database_that_goes_away(database: Database, dsn: str) -> None:
    signer = signing.signer(database, VAULT, chain.PURPOSE)
    pool = open_database(dsns.parse(dsn), max_connections=3)
    with Sealer(pool, signer, every=0.02) as sealer:
        database.rows(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        write(database, 3)
        assert sealer is not None
        for _ in range(100):
            if chain.head(database).position == 3:
                break
            threading.Event().wait(0.05)
    pool.close_all()
    assert verified(database).unsigned == 0


def test_a_large_trail_is_walked_in_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("openwatch.audit.chain._BATCH", 5)
    monkeypatch.setattr("openwatch.audit.verify._BATCH", 4)
    for n in range(6):
        write(database, 4, 4 * n)
        seal(database)
    report = verified(database)
    assert report.problems == ()
    assert (report.events, report.checkpoints) == (24, 6)
