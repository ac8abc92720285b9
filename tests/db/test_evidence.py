"""Evidence: stored once, found again, and seen through when it was changed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openwatch import clock, errors
from openwatch.checks.types import Absence
from openwatch.db import Database, Query
from openwatch.evidence import blobs, chain, collector, manifests, records
from openwatch.evidence.manifests import Entry
from openwatch.evidence.verify import Report, verify
from openwatch.keys import signing
from openwatch.posture.ledger import Ledger
from openwatch.posture.lens import ALL
from openwatch.vault import Vault
from tests.db.fleet import add_host, add_scan, judged

_ROWS = Query(
    "rows",
    "who wrote the rows",
    "SELECT hash, ctid::text, xmin::text, used FROM blobs ORDER BY 1",
)
_WHOLE = Query("whole", "whole manifests", "SELECT count(*) FROM manifests WHERE base IS NULL")
_DEPTH = Query("depth", "the longest line", "SELECT max(depth) FROM manifests")
_AGE = "UPDATE blobs SET used = '2020-01-01'; UPDATE manifests SET used = '2020-01-01'"
_OLD = Query(
    "old",
    "what the collector would take",
    "SELECT (SELECT count(*) FROM blobs WHERE used < '2021-01-01'),"
    " (SELECT count(*) FROM manifests WHERE used < '2021-01-01')",
)


def test_content_is_stored_once_and_comes_back_whole(database: Database) -> None:
    contents = [b"", b"plain", b"long " * 5000, os.urandom(5000), b"plain"]
    names = blobs.store(database, contents)
    assert names[1] == names[4]
    assert [blobs.load(database, name) for name in names] == contents
    before = database.tuples(_ROWS)
    assert len(before) == 4
    assert blobs.store(database, contents) == names
    assert database.tuples(_ROWS) == before
    assert blobs.store(database, []) == []


def test_content_used_again_is_kept_from_the_collector(database: Database) -> None:
    names = blobs.store(database, [b"one", b"two"])
    entries = [Entry("p1", names[0], 0), Entry("p2", names[1], 0)]
    first = manifests.store(database, entries, None)
    second = manifests.store(database, [*entries, Entry("p3", None, Absence.TIMEOUT)], first)
    database.run(_AGE)
    blobs.store(database, [b"one"])
    manifests.store(database, [*entries, Entry("p3", None, Absence.TIMEOUT)], second)
    assert list(database.tuples(_OLD)[0]) == [1, 0]  # the manifest it rests on is used as well


def test_damaged_evidence_is_not_handed_out(database: Database) -> None:
    (name,) = blobs.store(database, [b"the truth " * 20])
    manifest = manifests.store(database, [Entry("p", name, 0)], None)
    database.run("UPDATE blobs SET bytes = '\\x00'; UPDATE manifests SET bytes = '\\x00'")
    with pytest.raises(errors.StorageError, match="has been changed"):
        blobs.load(database, name)
    with pytest.raises(errors.StorageError, match="has been changed"):
        manifests.load(database, manifest)
    with pytest.raises(errors.NotFound):
        blobs.load(database, b"\0" * 32)
    with pytest.raises(errors.NotFound):
        manifests.load(database, b"\0" * 32)


_LINES = [b"net.ipv4.conf.all.setting_%d = %d\n" % (n, n * 7919) for n in range(200)]
_CODECS = Query("codecs", "how each is stored", "SELECT encode(hash, 'hex'), codec FROM blobs")


def _lines(**changed: bytes) -> bytes:
    return b"".join(changed.get(f"n{n}", line) for n, line in enumerate(_LINES))


def _differing(db: Database) -> set[bytes]:
    return {bytes.fromhex(name) for name, codec in db.tuples(_CODECS) if codec == 2}


def _replace(db: Database, content: bytes, old: bytes) -> bytes:
    (name,) = blobs.store(db, [content], lambda: [old])
    return name


def test_an_answer_that_replaces_another_is_a_difference_to_what_is_whole(
    database: Database,
) -> None:
    texts = [_lines(), _lines(n5=b"five\n"), _lines(n5=b"five\n", n9=b""), os.urandom(3000)]
    (first,) = blobs.store(database, texts[:1])
    second = _replace(database, texts[1], first)
    third = _replace(database, texts[2], second)
    other = _replace(database, texts[3], third)
    assert _differing(database) == {second, third}
    names = [first, second, third, other]
    assert [blobs.load(database, name) for name in names] == texts
    assert dict(blobs.found(database, names)) == dict(zip(names, texts, strict=True))
    database.run(f"DELETE FROM blobs WHERE hash = '\\x{first.hex()}'")
    for name in (second, third):  # both are differences to the one that is whole
        with pytest.raises(errors.EvidenceDamaged):
            blobs.load(database, name)
    assert blobs.load(database, other) == texts[3]
    assert _replace(database, b"new", first)  # nothing is built upon what is gone


def test_what_a_difference_is_to_is_kept_as_long_as_it(database: Database) -> None:
    (first,) = blobs.store(database, [_lines()])
    second = _replace(database, _lines(n5=b"five\n"), first)
    database.run(_AGE)
    assert blobs.hold(database, [second])
    assert list(database.tuples(_OLD)[0]) == [0, 0]
    database.run(_AGE)
    third = _replace(database, _lines(n6=b"six\n"), second)
    assert _differing(database) == {second, third}
    assert list(database.tuples(_OLD)[0]) == [1, 0]  # the second alone is nobody's any more
    assert collector.collect(database, clock.now()).blobs == 1
    assert blobs.load(database, third) == _lines(n6=b"six\n")


def test_a_difference_that_is_stored_again_does_not_rest_on_what_is_gone(
    database: Database,
) -> None:
    text = _lines(n5=b"five\n")
    (first,) = blobs.store(database, [_lines()])
    second = _replace(database, text, first)
    database.run(_AGE)
    database.run(f"DELETE FROM blobs WHERE hash = '\\x{first.hex()}'")
    assert not blobs.hold(database, [second])
    assert blobs.store(database, [text]) == [second]
    assert blobs.load(database, second) == text
    database.run(_AGE)
    third = _replace(database, _lines(n6=b"six\n"), second)  # what is whole now stays whole
    assert _replace(database, text, third) == second
    assert _differing(database) == {third}
    assert blobs.load(database, third) == _lines(n6=b"six\n")


_entries = st.dictionaries(
    st.sampled_from([f"probe-{i}" for i in range(8)]),
    st.tuples(
        st.sampled_from([None, b"\1" * 32, b"\2" * 32]), st.sampled_from([0, 1, Absence.LOST])
    ),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(scans=st.lists(_entries, min_size=1, max_size=8))
def test_a_manifest_is_the_list_it_was_made_of(
    database: Database, scans: list[dict[str, tuple[bytes | None, int | Absence]]]
) -> None:
    previous = None
    stored = {}
    for scan in scans:
        entries = [Entry(probe, *answer) for probe, answer in scan.items()]
        previous = manifests.store(database, reversed(entries), previous)
        stored[previous] = tuple(sorted(entries, key=lambda entry: entry.probe))
    for name, whole in stored.items():
        assert manifests.load(database, name) == whole


def test_a_whole_manifest_is_stored_every_32(database: Database) -> None:
    previous = None
    names = []
    for step in range(70):
        entries = [
            Entry(f"probe-{i:03}", b"\1" * 32, step if i == 7 else 0) for i in range(100)
        ]
        previous = manifests.store(database, entries, previous)
        names.append(previous)
    assert database.value(_WHOLE) == 3
    assert database.value(_DEPTH) == 31
    assert manifests.load(database, names[63])[7].outcome == 63


def _chained(db: Database, vault: Vault, host: int) -> int:
    mark = add_scan(db, host)
    ledger = Ledger(db)

    def work() -> None:
        ledger.record(mark, [judged("a")], (), (ALL,))
        chain.extend(db, signing.signer(db, vault), mark.key)

    ledger.recording(work)
    return mark.key


def _verified(db: Database, host: int) -> Report:
    return verify(db, [pair for pair in records.hosts(db) if pair[0] == host])


def test_a_chain_is_sound_until_somebody_touches_it(database: Database) -> None:
    vault = Vault([os.urandom(32)])
    host, other = add_host(database, "web"), add_host(database, "db")
    scans = [_chained(database, vault, host) for _ in range(4)]
    _chained(database, vault, other)
    sound = _verified(database, host)
    assert (sound.hosts[0].scans, sound.is_broken) == (4, False)
    assert sound.signed_by == (signing.signer(database, vault).id,)

    database.run(f"UPDATE scans SET rules_pass = 2 WHERE key = {scans[1]}")
    (problem,) = _verified(database, host).hosts[0].problems
    assert "sequence 2" in problem
    assert "changed since it was signed" in problem
    database.run(f"UPDATE scans SET rules_pass = 1 WHERE key = {scans[1]}")
    database.run(f"DELETE FROM scans WHERE key = {scans[2]}")
    problems = _verified(database, host).hosts[0].problems
    assert any("1 scans before it are missing" in problem for problem in problems)
    assert not _verified(database, other).is_broken


def test_a_forged_signature_is_seen(database: Database) -> None:
    vault = Vault([os.urandom(32)])
    host = add_host(database, "web")
    _chained(database, vault, host)
    database.run("UPDATE scans SET signature = decode(repeat('00', 64), 'hex')")
    (problem,) = _verified(database, host).hosts[0].problems
    assert "the signature is not that of key" in problem


def test_a_scan_is_chained_once(database: Database) -> None:
    vault = Vault([os.urandom(32)])
    scan = _chained(database, vault, add_host(database, "web"))
    with pytest.raises(errors.Conflict):
        chain.extend(database, signing.signer(database, vault), scan)


def test_a_signing_key_is_made_once_and_sealed(database: Database) -> None:
    vault = Vault([os.urandom(32)])
    key = signing.signer(database, vault)
    again = signing.signer(database, vault)
    assert (again.id, again.public) == (key.id, key.public)
    assert signing.is_signed(again.public, b"message", key.sign(b"message"))
    assert not signing.is_signed(again.public, b"another", key.sign(b"message"))
    with pytest.raises(errors.SecretUnreadable):
        signing.signer(database, Vault([os.urandom(32)]))


def test_a_rotated_key_is_endorsed_by_the_one_before_and_the_chain_goes_on(
    database: Database,
) -> None:
    vault = Vault([os.urandom(32)])
    host = add_host(database, "web")
    _chained(database, vault, host)
    new = signing.rotate(database, vault)
    assert signing.signer(database, vault).id == new.id
    _chained(database, vault, host)
    old, current = signing.public_keys(database)
    assert old.retired_at is not None
    assert signing.is_endorsed(current, old)
    assert not signing.is_endorsed(old, current)
    found = _verified(database, host)
    assert (found.is_broken, set(found.signed_by)) == (False, {old.id, current.id})


def test_two_processes_make_one_key(database: Database) -> None:
    vault = Vault([os.urandom(32)])

    def make() -> str:
        with database.scope():
            return signing.signer(database, vault).id

    with ThreadPoolExecutor(4) as pool:
        found = {f.result(20) for f in [pool.submit(make) for _ in range(4)]}
    assert len(found) == 1
    assert len(signing.public_keys(database)) == 1
