"""Verifying: whatever is touched is named, from a database and from an export alike."""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from openwatch import errors
from openwatch.db import Database, Query
from openwatch.evidence import archive, records
from openwatch.evidence.verify import Report, Verifier, verify
from openwatch.keys import signing
from tests.db.evidence import VAULT, store_scan
from tests.db.fleet import add_host

_BLOB = Query("blob", "a blob", "SELECT encode(hash, 'hex') FROM blobs WHERE hash = sha256(:c)")


def answers(step: int) -> dict[str, bytes]:
    return {f"{n:032x}": b"answer %d of step %d" % (n, step if n == 1 else 0) for n in range(5)}


@pytest.fixture
def host(database: Database) -> int:
    """A host of four scans, beside another one."""
    key = add_host(database, "web")
    for step in range(4):
        store_scan(database, key, answers(step))
    store_scan(database, add_host(database, "zz"), answers(0))
    return key


def of(db: Database, *trusted: str) -> Report:
    return verify(db, records.hosts(db), trusted)


def exported(db: Database, path: Path) -> Path:
    for _ in archive.write(path, records.walk(db, records.hosts(db))):
        pass
    return path


def offline(path: Path, *trusted: str) -> Report:
    verifier = Verifier(trusted)
    try:
        for record in archive.read(path):
            verifier.take(record)
    except errors.InvalidInput as damage:
        verifier.refuse(damage.message)
    return verifier.report()


def told(report: Report) -> list[str]:
    return [*(p for host in report.hosts for p in host.problems), *report.problems]


def test_sound_evidence_is_consistent_and_authentic_where_its_key_is_trusted(
    database: Database, host: int, tmp_path: Path
) -> None:
    key = signing.signer(database, VAULT).id
    file = exported(database, tmp_path / "evidence.tar.gz")
    assert file.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["evidence.tar.gz"]
    for report in (of(database), offline(file)):
        assert not report.is_broken
        assert not report.is_authenticated
        assert report.signed_by == (key,)
        assert sorted(h.scans for h in report.hosts) == [1, 4]
    assert of(database, key).is_authenticated
    assert offline(file, key).is_authenticated
    assert not offline(file, "0" * 32).is_authenticated
    assert offline(file) == of(database)


TAMPERING: dict[str, tuple[str, str]] = {
    "a row": (
        "UPDATE scans SET rules_fail = 7 WHERE host = {host} AND sequence = 2",
        r"\(sequence 2\): has been changed since it was signed",
    ),
    "the cost of a row": (
        """UPDATE scans SET cost = '{{"probes": 0}}' WHERE host = {host} AND sequence = 3""",
        r"\(sequence 3\): has been changed since it was signed",
    ),
    "a removed scan": (
        "DELETE FROM scans WHERE host = {host} AND sequence = 2",
        r"\(sequence 3\): 1 scans before it are missing",
    ),
    "a removed beginning": (
        "DELETE FROM scans WHERE host = {host} AND sequence <= 2",
        r"\(sequence 3\): 2 scans before it are missing",
    ),
    "a signature": (
        (
            "UPDATE scans SET signature = decode(repeat('00', 64), 'hex')"
            " WHERE host = {host} AND sequence = 1"
        ),
        r"\(sequence 1\): the signature is not that of key",
    ),
    "an answer": (
        "UPDATE blobs SET codec = 0, bytes = 'another' WHERE hash = sha256('answer 1 of step 2')",
        r"\(sequence 3\): the answer to probe 0+1 \([0-9a-f.]+ has been changed\)",
    ),
    "a removed answer": (
        "DELETE FROM blobs WHERE hash = sha256('answer 1 of step 1')",
        r"\(sequence 2\): the answer to probe 0+1 \([0-9a-f.]+ is missing\)",
    ),
    "the corpus": (
        "DELETE FROM blobs WHERE hash = sha256('corpus')",
        r"\(sequence 1\): the corpus it was judged by",
    ),
    "the verdicts": (
        "UPDATE blobs SET codec = 0, bytes = 'all is well' WHERE hash IN (SELECT verdicts FROM scans)",
        r"\(sequence 1\): the document of its verdicts",
    ),
    "a manifest": (
        (
            "UPDATE manifests SET bytes = '\\x00' WHERE hash IN (SELECT manifest FROM scans"
            " WHERE host = {host} AND sequence = 1)"
        ),
        r"\(sequence 1\): its manifest",
    ),
    "an unsigned scan": (
        (
            "INSERT INTO scans (id, host, trigger_source, status, recorded_at) VALUES"
            " (gen_random_uuid(), {host}, 'on_demand', 'completed', clock_timestamp())"
        ),
        "has results, but no place in the chain",
    ),
    "a key": (
        "UPDATE signing_keys SET public_key = decode(repeat('11', 32), 'hex')",
        "the signature is not that of key",
    ),
    "scans that changed places": (
        (
            "UPDATE scans SET sequence = 9 WHERE host = {host} AND sequence = 2;"
            "UPDATE scans SET sequence = 2 WHERE host = {host} AND sequence = 3;"
            "UPDATE scans SET sequence = 3 WHERE host = {host} AND sequence = 9"
        ),
        r"\(sequence 2\): does not follow the scan before it",
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_what_is_touched_is_named_and_nothing_else_hides_it(
    database: Database, host: int, tmp_path: Path, what: str
) -> None:
    key = signing.signer(database, VAULT).id
    sql, expected = TAMPERING[what]
    database.run(sql.format(host=host))
    report = of(database, key)
    assert report.is_broken
    assert not report.is_authenticated
    first = told(report)[0]
    assert re.search(expected, first), told(report)
    assert first.startswith("web-")
    assert told(offline(exported(database, tmp_path / "e"), key)) == told(report)


def test_a_trusted_key_vouches_for_its_successors_and_for_what_their_chains_lead_back_to(
    database: Database, host: int
) -> None:
    old = signing.signer(database, VAULT).id
    new = signing.rotate(database, VAULT).id
    assert of(database, old).is_authenticated
    assert not of(database, new).is_authenticated  # it has signed nothing yet
    store_scan(database, host, answers(9))
    assert of(database, old).is_authenticated
    report = of(database, new)
    assert {h.name.split("-")[0]: h.unproven for h in report.hosts} == {"web": 0, "zz": 1}
    assert not report.is_authenticated
    assert verify(database, records.hosts(database, report.hosts[0].id), [new]).is_authenticated


def test_a_key_that_nobody_endorsed_is_not_trusted_through_another(
    database: Database, host: int
) -> None:
    old = signing.signer(database, VAULT).id
    new = signing.rotate(database, VAULT).id
    store_scan(database, host, answers(9))
    database.run(
        f"UPDATE signing_keys SET endorsement = decode(repeat('00', 64), 'hex') WHERE id = '{new}'"
    )
    report = of(database, old)
    assert report.is_broken
    assert f"key {new}: {old} has not endorsed it" in told(report)[0]
    database.run(
        f"UPDATE signing_keys SET endorsement = NULL, endorsed_by = NULL WHERE id = '{new}'"
    )
    report = of(database, old)
    assert not report.is_broken
    assert not report.is_authenticated


def rewritten(path: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> Path:
    """Copy an export member by member."""
    out = path.with_suffix(".changed")
    with tarfile.open(path) as old, tarfile.open(out, "w:gz") as new:
        for member in old.getmembers():
            opened = old.extractfile(member)
            assert opened is not None
            for name, content in change(member.name, opened.read()):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))
    return out


def test_an_export_that_was_cut_or_added_to_is_seen(
    database: Database, host: int, tmp_path: Path
) -> None:
    file = exported(database, tmp_path / "e.tar.gz")
    whole = file.read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) * 9 // 10):
        file.write_bytes(whole[:size])
        try:
            assert offline(file).is_broken, size
        except errors.ConfigError:
            assert size < 200  # too little to be known as an export
    file.write_bytes(whole)
    ways: list[Callable[[str, bytes], list[tuple[str, bytes]]]] = [
        lambda n, c: [] if n == "end.json" else [(n, c)],
        lambda n, c: [] if n.startswith("blobs/") else [(n, c)],
        lambda n, c: [] if n.endswith(".seal.json") else [(n, c)],
        lambda n, c: [(n, c), ("../../etc/passwd", b"x")] if n == "end.json" else [(n, c)],
        lambda n, c: [("../x", b""), (n, c)] if n.startswith("keys/") else [(n, c)],
        lambda n, c: [(n, b"{}" if n.startswith("manifests/") else c)],
        lambda n, c: [(n, c.replace(b"rules_pass", b"rules_fail"))],
    ]
    for number, way in enumerate(ways):
        assert offline(rewritten(file, way)).is_broken, number
    assert not offline(rewritten(file, lambda n, c: [(n, c)])).is_broken


def test_a_file_that_is_no_export_is_said_to_be_none(tmp_path: Path) -> None:
    other = tmp_path / "other"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("other"))
    for content in (b"", b"text", packed.getvalue(), b"x" + os.urandom(5000)):
        other.write_bytes(content)
        with pytest.raises(errors.ConfigError, match="is not an export of evidence"):
            list(archive.read(other))
    other.write_bytes(gzip.compress(b"text"))
    with pytest.raises(errors.InvalidInput, match="damaged"):
        list(archive.read(other))
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        list(archive.read(tmp_path / "gone"))


def test_an_export_that_is_given_up_leaves_nothing_behind(
    database: Database, host: int, tmp_path: Path
) -> None:
    stream = archive.write(tmp_path / "e", records.walk(database, records.hosts(database)))
    next(stream)
    stream.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(errors.ConfigError, match="cannot be written"):
        exported(database, tmp_path / "no" / "where")
    assert not of(database).is_broken  # and the connection is not left in a transaction


def test_one_host_is_verified_by_its_name_or_id(database: Database, host: int) -> None:
    ((key, found),) = [pair for pair in records.hosts(database) if pair[0] == host]
    assert records.hosts(database, found.name) == ((key, found),)
    assert records.hosts(database, str(found.id).upper()) == ((key, found),)
    with pytest.raises(errors.NotFound, match="nowhere"):
        records.hosts(database, "nowhere")
