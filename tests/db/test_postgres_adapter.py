"""The adapter: PostgreSQL's errors as ours, values there and back, connections that end."""

from __future__ import annotations

import datetime as dt
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import peewee
import pytest

from openwatch import errors, ids
from openwatch.db import Database, Model, Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import connector, open_database
from openwatch.db.embedded import Server, wheel_programs


def query(sql: str) -> Query:
    return Query("test", "", sql)


_PID = query("SELECT pg_backend_pid()")
_KILL = query("SELECT pg_terminate_backend(:pid::integer)")


@pytest.fixture
def other(dsn: str) -> Iterator[Database]:
    db = open_database(dsns.parse(dsn))
    yield db
    db.close_all()


# -- errors --------------------------------------------------------------------------------------


def test_a_violated_constraint_is_named(database: Database):
    database.run(
        "CREATE TABLE t (a integer CONSTRAINT a_once UNIQUE, b integer CONSTRAINT b_small CHECK (b < 5))"
    )
    database.run("INSERT INTO t VALUES (1, 1)")
    with pytest.raises(errors.IntegrityViolation) as caught:
        database.run(query("INSERT INTO t VALUES (:a::integer, 2)"), a=1)
    assert (caught.value.sqlstate, caught.value.constraint, caught.value.table) == (
        "23505",
        "a_once",
        "t",
    )
    with pytest.raises(errors.IntegrityViolation) as caught:
        database.run("INSERT INTO t VALUES (2, 9)")
    assert caught.value.constraint == "b_small"


def test_a_missing_partition_is_no_integrity_conflict(database: Database):
    database.run("CREATE TABLE p (a integer) PARTITION BY RANGE (a)")
    with pytest.raises(errors.MissingPartition):
        database.run("INSERT INTO p VALUES (1)")


def test_a_violated_constraint_through_peewee_is_the_same_error(database: Database):
    class Thing(Model):
        name = peewee.TextField(unique=True)

    database.create_tables([Thing])
    Thing.create(name="a")
    with pytest.raises(errors.IntegrityViolation), database.atomic():
        Thing.create(name="a")
    assert [t.name for t in Thing.select().where(Thing.name == "a")] == ["a"]


def test_a_serialization_failure_is_run_again(database: Database, other: Database):
    database.run("CREATE TABLE t (a integer)")
    database.run("INSERT INTO t VALUES (0)")
    tries: list[int] = []

    def work() -> int:
        with database.atomic():
            database.run("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            found = database.value(query("SELECT a FROM t"))
            tries.append(found)
            if len(tries) == 1:
                with other.scope():
                    other.run("UPDATE t SET a = a + 10")
            database.run(query("UPDATE t SET a = :a::integer"), a=found + 1)
            return int(found + 1)

    assert database.retrying(work) == 11
    assert tries == [0, 10]


def test_a_conflict_that_stays_is_told_after_the_fifth_time(database: Database):
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        with database.atomic():
            database.run("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")

    with pytest.raises(errors.RetryableConflict):
        database.retrying(work)
    assert len(tries) == 5


def test_a_deadlock_is_a_retryable_conflict(database: Database, other: Database):
    database.run("CREATE TABLE t (a integer PRIMARY KEY)")
    database.run("INSERT INTO t VALUES (1), (2)")
    told: list[BaseException] = []

    def lock(db: Database, first: int, second: int, both: threading.Barrier) -> None:
        statement = query("SELECT a FROM t WHERE a = :a::integer FOR UPDATE")
        try:
            with db.scope(), db.atomic():
                db.run(statement, a=first)
                both.wait(10)
                db.run(statement, a=second)
        except errors.StorageError as error:
            told.append(error)

    barrier = threading.Barrier(2)
    thread = threading.Thread(target=lock, args=(other, 2, 1, barrier))
    thread.start()
    lock(database, 1, 2, barrier)
    thread.join()
    assert [type(error) for error in told] == [errors.RetryableConflict]


def test_a_statement_that_takes_too_long_is_ended(dsn: str):
    db = open_database(dsns.parse(dsn), statement_timeout="100ms")
    with db.scope():
        with pytest.raises(errors.QueryTimeout):
            db.run("SELECT pg_sleep(20)")
        assert db.value(query("SELECT 1")) == 1
    db.close_all()


def test_a_lock_that_is_not_given_is_a_timeout(database: Database, other: Database):
    database.run("CREATE TABLE t (a integer)")
    with other.scope(), other.atomic():
        other.run("LOCK TABLE t")
        database.run("SET lock_timeout = '50ms'")
        with pytest.raises(errors.QueryTimeout):
            database.run("SELECT * FROM t")


def test_a_swallowed_error_is_not_committed_in_silence(database: Database):
    database.run("CREATE TABLE t (a integer)")

    def work() -> None:
        with database.atomic():
            database.run("INSERT INTO t VALUES (1)")
            with pytest.raises(errors.StorageError):
                database.run("SELECT no_such_column FROM t")

    with pytest.raises(errors.StorageError, match="rolled all of it back"):
        work()
    assert database.value(query("SELECT count(*) FROM t")) == 0


def test_a_value_that_is_no_text_harms_nothing(database: Database):
    for bad in ("\ud800", "a\0b"):
        with pytest.raises(errors.StorageError):
            database.value(query("SELECT :x::text"), x=bad)
        assert database.value(query("SELECT :x::text"), x="good") == "good"


def test_a_syntax_error_in_a_statement_with_values_leaves_the_connection_good(
    database: Database,
):
    with pytest.raises(errors.StorageError, match="42601"):
        database.value(query("SELEKT :x::text"), x="a")
    with pytest.raises(errors.StorageError, match="invalid input syntax"):
        database.value(query("SELECT :x::integer"), x="one")
    assert database.value(query("SELECT :x::integer"), x=1) == 1


# -- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uuid", UUID("01900000-0000-7000-8000-000000000001")),
        ("bytea", b"\x00\xff'\\x"),
        ("text", "Zürich \\ ' \" $1 :a %s 😀"),
        ("text", ""),
        ("text[]", ["a", "", "b,c", 'd"e', "f\\g", "NULL", "{}", None]),
        ("integer[]", [1, None, -3]),
        ("uuid[]", [ids.new_id(), ids.new_id()]),
        ("bytea[]", [b"\x00\x01", b""]),
        ("text[]", []),
        ("jsonb", {"a": [1, None, {"b": "ü"}], "c": True}),
        ("boolean", True),
        ("bigint", 2**62),
        ("double precision", 0.1),
        ("timestamptz", dt.datetime(2026, 1, 15, 12, 30, 0, 123456, tzinfo=dt.UTC)),
        ("timestamptz", dt.datetime(1, 1, 1, tzinfo=dt.UTC)),
        ("date", dt.date(2026, 1, 15)),
        ("integer", None),
    ],
)
def test_a_value_comes_back_as_it_went(database: Database, kind: str, value: object):
    assert database.value(query(f"SELECT :x::{kind}"), x=value) == value


def test_an_instant_of_another_zone_comes_back_in_utc(database: Database):
    east = dt.timezone(dt.timedelta(hours=5, minutes=30))
    instant = dt.datetime(2026, 1, 15, 5, 30, tzinfo=east)
    found = database.value(query("SELECT :x::timestamptz"), x=instant)
    assert (found, found.utcoffset()) == (instant, dt.timedelta(0))


def test_infinity_is_the_word(database: Database):
    assert database.value(query("SELECT 'infinity'::timestamptz")) == "infinity"
    assert database.value(query("SELECT :x::timestamptz = 'infinity'"), x="infinity") is True


def test_many_rows_and_wide_values_come_whole(database: Database):
    rows = database.tuples(
        query("SELECT n, repeat('x', 1000) FROM generate_series(1, :n::integer) AS n"), n=5000
    )
    assert len(rows) == 5000
    assert rows[-1] == [5000, "x" * 1000]
    wide = "y" * 5_000_000
    assert database.value(query("SELECT :x::text"), x=wide) == wide


def test_the_session_does_not_depend_on_what_the_database_prefers(database: Database, dsn: str):
    name = database.value(query("SELECT current_database()"))
    for setting in (
        "TimeZone = 'Asia/Tokyo'",
        "DateStyle = 'German'",
        "default_transaction_isolation = 'serializable'",
        "jit = on",
    ):
        database.run(f'ALTER DATABASE "{name}" SET {setting}')
    connection = connector(dsns.parse(dsn))()
    found = connection.execute_simple("SELECT '2026-01-15T00:00:00Z'::timestamptz").rows[0][0]
    assert found == dt.datetime(2026, 1, 15, tzinfo=dt.UTC)
    assert connection.execute_simple("SHOW transaction_isolation").rows == [["read committed"]]
    assert connection.execute_simple("SHOW jit").rows == [["off"]]
    connection.abandon()


# -- connections ---------------------------------------------------------------------------------


def test_a_connection_that_ends_in_a_query_is_told_and_replaced(
    other: Database, database: Database
):
    with other.scope():
        pid = other.value(_PID)
        killer = connector_killer(database, pid)
        killer.start()
        with pytest.raises(errors.DatabaseUnavailable), other.atomic():
            other.run("SELECT pg_sleep(20)")
        killer.join()
        with pytest.raises(errors.DatabaseUnavailable, match="cannot be used any more"):
            other.value(_PID)
    with other.scope():
        assert other.value(_PID) != pid


def connector_killer(database: Database, pid: int) -> threading.Thread:
    def kill() -> None:
        time.sleep(0.3)
        with database.scope():
            database.value(_KILL, pid=pid)
        database.close()

    return threading.Thread(target=kill)


def test_a_connection_that_ended_while_idle_is_replaced_unseen(
    other: Database, database: Database
):
    with other.scope():
        pid = other.value(_PID)
    assert database.value(_KILL, pid=pid) is True
    time.sleep(0.2)
    with other.scope():
        assert other.value(_PID) != pid


def test_an_interrupted_statement_never_answers_the_next_one(other: Database):
    class Interrupt(BaseException):
        pass

    with other.scope():
        connection = other.connection()
        pid = other.value(_PID)

        def stop(_data: bytes, _context: object) -> None:
            raise Interrupt

        connection.message_types[b"D"] = stop
        with pytest.raises(Interrupt):
            other.value(query("SELECT 'secret of the first'"))
        with pytest.raises(errors.DatabaseUnavailable):
            other.value(query("SELECT 'second'"))
    with other.scope():
        assert other.value(_PID) != pid


def test_a_transaction_left_open_does_not_return_to_the_pool(other: Database):
    with other.scope():
        other.run("CREATE TABLE t (a integer)")
    with other.scope():
        other.run("BEGIN")
        other.run("INSERT INTO t VALUES (1)")
    with other.scope():
        assert other.value(query("SELECT count(*) FROM t")) == 0


def test_a_thread_that_finds_no_connection_is_told_so(dsn: str):
    db = open_database(dsns.parse(dsn), max_connections=1)
    db._wait_timeout = 0.3
    told: list[BaseException] = []

    def rival() -> None:
        try:
            with db.scope():
                pass
        except errors.DatabaseUnavailable as error:
            told.append(error)

    with db.scope():
        thread = threading.Thread(target=rival)
        thread.start()
        thread.join()
    assert "max_connections" in str(told[0])
    with db.scope():
        assert db.value(query("SELECT 1")) == 1
    db.close_all()


def test_the_program_outlives_a_restart_of_the_database():
    folder = Path(tempfile.mkdtemp(prefix="openwatch-test-restart-"))
    folder.chmod(0o711)
    server = Server(folder / "cluster", wheel_programs())
    server.start()
    try:
        db = open_database(dsns.parse(server.dsn("postgres")))
        with db.scope():
            assert db.value(query("SELECT 1")) == 1
        server.stop()
        with (
            pytest.raises(
                errors.DatabaseUnavailable, match=f"127.0.0.1:{server.port}.*check that"
            ),
            db.scope(),
        ):
            pass
        server.start()
        with db.scope():
            assert db.value(query("SELECT 1")) == 1
        db.close_all()
    finally:
        server.stop()
        server.remove()
        folder.rmdir()
