"""Ids, logs, queries: the small things that everything stands on."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest

from openwatch import ids, log
from openwatch.db.queries import Queries


def test_ids_are_version_7_and_sort_by_age():
    made = [ids.new_id() for _ in range(200)]
    assert all(i.version == 7 for i in made)
    assert [i.int >> 80 for i in made] == sorted(i.int >> 80 for i in made)
    assert len(set(made)) == 200


def test_correlation_ids_never_repeat_under_concurrency():
    found: list[str] = []

    def make() -> None:
        found.extend([ids.correlation_id() for _ in range(5000)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 40000
    assert all(len(i) == 20 and i.startswith("req-") for i in found)


@pytest.mark.parametrize(
    "bad", ["boot-1", "cron-1", "test-1", "a b", "x" * 65, "", None, "a\nb"]
)
def test_a_clients_correlation_id_must_be_plain(bad):
    assert ids.accepted_correlation_id(bad) is None
    assert ids.accepted_correlation_id("abc_DEF-1") == "abc_DEF-1"


@pytest.fixture
def lines():
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    log.configure("info", "json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], level = before
    root.setLevel(level)


def test_a_line_has_a_sentence_an_event_and_bound_ids(lines):
    with log.bind(correlation_id="req-1"):
        log.event(
            logging.getLogger("x"), logging.WARNING, "scan.failed", "it failed", host="web-1"
        )
    (line,) = lines()
    assert line["msg"] == "it failed"
    assert line["event"] == "scan.failed"
    assert line["level"] == "warn"
    assert line["correlation_id"] == "req-1"
    assert line["host"] == "web-1"
    assert line["time"].endswith("Z")


def test_a_password_in_a_url_is_masked_even_in_a_trace(lines):
    try:
        raise ValueError("postgres://ow:hunter2@db/openwatch password=hunter2")
    except ValueError:
        logging.getLogger("x").exception("dsn postgres://ow:hunter2@db/openwatch")
    assert "hunter2" not in json.dumps(lines())


def test_query_parameters_are_numbered_once_and_casts_stay():
    queries = Queries(
        "-- one: a purpose\nSELECT :a::int, ':not'::text, :b, :a -- :c is a comment\n"
        "-- two: another\nSELECT now()::date;\n"
    )
    assert queries["one"].sql == "SELECT $1::int, ':not'::text, $2, $1"
    assert queries["one"].parameters == ("a", "b")
    assert queries["two"].sql == "SELECT now()::date"
    assert queries["two"].parameters == ()
    assert list(queries) == ["one", "two"]


@pytest.fixture
def logged():
    """What is logged, as text or JSON, with the root logger put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()

    def begin(form: str) -> io.StringIO:
        log.configure("info", form, stream)
        return stream

    yield begin
    root.handlers[:] = handlers
    root.setLevel(level)


def test_what_a_host_said_cannot_look_like_another_line_of_text(logged):
    stream = logged("text")
    said = "no\ninfo    all is well\x1b[2J\u2028\u202e"
    log.event(logging.getLogger("x"), logging.WARNING, "a", said, banner="x\r\ny")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()
    assert "no\\ninfo" in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_password_in_a_field_is_masked_as_in_the_sentence(logged, form):
    stream = logged(form)
    dsn = "postgres://u:PLANTED@h/d"
    log.event(logging.getLogger("x"), logging.WARNING, "a", dsn, why=f"lost {dsn}", n=1)
    assert "PLANTED" not in stream.getvalue()
    assert stream.getvalue().count("***") == 2
