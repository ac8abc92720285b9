"""Documents of verdicts: whole or in layers, what comes back is what was stored."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openwatch import errors
from openwatch.db import Database, Query
from openwatch.evidence import blobs, collector, layers
from tests.db.test_retention import _AGE, _FAR

_SIZE = Query("size", "bytes of blobs", "SELECT sum(length(bytes)) FROM blobs")

Document = dict[str, dict[str, object]]


def text(document: Document) -> bytes:
    return msgspec.json.encode(document)


def plain(content: bytes) -> Document:
    return msgspec.json.decode(content, type=Document)


def big(**changed: str) -> Document:
    """A document of a hundred rules, a few of which are not as usual."""
    rules: dict[str, object] = {
        f"rule-{n:03}": {"actual": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(100)
    }
    return {"rules": rules | changed, "commands": {"p": "true"}}


_documents = st.dictionaries(
    st.sampled_from(["rules", "commands", "other"]),
    st.dictionaries(
        st.sampled_from([f"part-{i}" for i in range(12)]),
        st.one_of(
            st.none(), st.integers(0, 9), st.text(max_size=60), st.lists(st.floats(0, 1))
        ),
    ),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(documents=st.lists(_documents, min_size=1, max_size=8))
def test_a_document_comes_back_as_it_was(database: Database, documents: list[Document]) -> None:
    previous = None
    stored = []
    for document in documents:
        previous = layers.store(database, text(document), previous)
        stored.append((previous, document))
    for name, document in stored:
        assert plain(layers.load(database, name)) == document


def test_an_unchanged_document_is_the_last_one_and_a_changed_part_costs_itself(
    database: Database,
) -> None:
    first = layers.store(database, text(big()), None)
    assert layers.store(database, text(big()), first) == first
    whole = database.value(_SIZE)
    second = layers.store(database, text(big(new="x")), first)
    assert second != first
    assert database.value(_SIZE) - whole < 300
    assert layers.store(database, text(big(new="x")), second) == second
    assert plain(layers.load(database, second)) == big(new="x")
    third = layers.store(database, text(big()), second)  # as it was first, said anew
    assert plain(layers.load(database, third)) == big()


def test_layers_end_in_a_whole_document_every_32(database: Database) -> None:
    previous, depths = None, []
    for step in range(70):
        previous = layers.store(database, text(big(turn=str(step))), previous)
        depths.append(len(layers.line_of(blobs.load(database, previous))))
        assert plain(layers.load(database, previous)) == big(turn=str(step))
    assert depths.count(0) == 3
    assert max(depths) == 31


def test_what_is_damaged_is_not_handed_out_nor_built_upon(database: Database) -> None:
    first = layers.store(database, text(big()), None)
    second = layers.store(database, text(big(new="x")), first)
    database.run(f"UPDATE blobs SET bytes = '\\x00' WHERE hash = '\\x{first.hex()}'")
    with pytest.raises(errors.EvidenceDamaged):
        layers.load(database, second)
    third = layers.store(database, text(big(new="y")), second)
    assert plain(layers.load(database, third)) == big(new="y")
    database.run(f"DELETE FROM blobs WHERE hash = '\\x{third.hex()}'")
    fourth = layers.store(database, text(big(new="z")), third)
    assert plain(layers.load(database, fourth)) == big(new="z")


def test_a_layer_that_lies_about_what_comes_out_is_refused(database: Database) -> None:
    first = layers.store(database, text(big()), None)
    forged = msgspec.json.encode(
        {"line": [first.hex()], "whole": os.urandom(32).hex(), "set": {}, "drop": {}}
    )
    (name,) = blobs.store(database, [forged])
    with pytest.raises(errors.EvidenceDamaged, match="does not fit"):
        layers.load(database, name)


def test_what_a_layer_lies_on_is_held_while_it_is_referred_to(database: Database) -> None:
    first = layers.store(database, text(big()), None)
    second = layers.store(database, text(big(new="x")), first)
    database.run(_AGE)

    def collect() -> int:
        with database.scope():
            return collector.collect(database, _FAR).blobs

    with ThreadPoolExecutor(1) as pool, database.atomic():
        assert layers.store(database, text(big(new="x")), second) == second
        assert pool.submit(collect).result(20) == 0
    assert plain(layers.load(database, second)) == big(new="x")
    database.run(_AGE)
    assert (
        collector.collect(database, _FAR, [second]).blobs == 0
    )  # as the evidence of a finding
    database.run(_AGE)
    assert collector.collect(database, _FAR).blobs == 2
