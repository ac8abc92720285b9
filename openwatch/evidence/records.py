"""Everything that a chain rests on, as a stream: what is verified, and what an export holds.

What something rests on comes before it: keys, then host by host its checkpoint, and for each scan
the blobs and the manifest that have not been there yet. So one pass verifies any number of scans.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from typing import Any
from uuid import UUID

import msgspec

from openwatch import errors
from openwatch.db import Database, load
from openwatch.evidence import blobs, chain, layers, manifests
from openwatch.keys import signing
from openwatch.keys.signing import PublicKey

_QUERIES = load("openwatch.evidence")
_PAGE = 100  # scans read at once


class Host(msgspec.Struct, frozen=True):
    """The records that follow are this host's, until the next host."""

    id: UUID
    name: str


class Blob(msgspec.Struct, frozen=True):
    """A content, and the hash under which it was stored."""

    hash: bytes
    content: bytes


class Document(msgspec.Struct, frozen=True):
    """A document of verdicts, whole or a layer, and the hash under which it was stored."""

    hash: bytes
    content: bytes


class Manifest(msgspec.Struct, frozen=True):
    """A manifest's text, and the hash under which it was stored."""

    hash: bytes
    content: bytes


class Checkpoint(msgspec.Struct, frozen=True):
    """Where the host's chain begins: the text, and who signed it."""

    body: bytes
    signature: bytes
    signing_key: str


class Scan(msgspec.Struct, frozen=True):
    """A scan's text and its place in the chain."""

    sequence: int
    body: bytes
    previous: bytes | None
    chain: bytes
    signature: bytes
    signing_key: str


class Unchained(msgspec.Struct, frozen=True):
    """A scan that has results and no place in the chain."""

    id: UUID


Record = PublicKey | Host | Blob | Document | Manifest | Checkpoint | Scan | Unchained


def hosts(db: Database, named: str | None = None) -> tuple[tuple[int, Host], ...]:
    """Return the hosts that have been scanned, with their keys; `named` by name or id.

    A host that has been deleted since is one of them. Raise NotFound where none is so named.
    """
    rows = db.rows(_QUERIES["scanned_hosts"], named=named)
    if named is not None and not rows:
        raise errors.NotFound(f"no host called {named!r} has ever been scanned")
    return tuple((row["key"], Host(row["id"], row["hostname"])) for row in rows)


def walk(db: Database, chosen: Collection[tuple[int, Host]]) -> Generator[Record, None, None]:
    """Yield the records of these hosts; what is not stored is left out.

    Every host is read in one snapshot, so that what is scanned or removed meanwhile is not in
    the way. The caller holds no transaction.
    """
    yield from (key for key in signing.public_keys(db) if key.purpose == "scan")
    seen: set[bytes] = set()
    for key, host in chosen:
        with db.atomic():
            db.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield host
            yield from _of_host(db, key, seen)


def _of_host(db: Database, host: int, seen: set[bytes]) -> Iterator[Record]:
    row = db.row(_QUERIES["checkpoint"], host=host)
    if row is not None:
        yield Checkpoint(
            _checkpoint(row).encoded(), bytes(row["signature"]), row["signing_key"]
        )
    after = 0
    while rows := db.rows(_QUERIES["links"], host=host, after=after, limit=_PAGE):
        for row in rows:
            scan = _scan(row)
            after = scan.sequence
            yield from _needed(db, row, seen)
            yield scan
    for row in db.rows(_QUERIES["unchained"], host=host):
        yield Unchained(row["id"])


def _needed(db: Database, row: dict[str, Any], seen: set[bytes]) -> Iterator[Record]:
    """Yield what a scan rests on and has not been there yet."""
    wanted = [bytes(row[name]) for name in ("facts", "corpus") if row[name] is not None]
    document = _document(db, row, seen)
    wanted += _line_of(document)
    manifest = None if row["manifest"] is None else bytes(row["manifest"])
    listed: tuple[manifests.Entry, ...] | None = None
    if manifest is not None and manifest not in seen:
        try:
            listed = manifests.load(db, manifest)
        except (
            errors.NotFound,
            errors.EvidenceDamaged,
        ):  # missing or damaged, which is for the verifier to say
            listed = None
        wanted += [entry.blob for entry in listed or () if entry.blob is not None]
    fresh = [name for name in dict.fromkeys(wanted) if name not in seen]
    for name, content in blobs.found(db, fresh):
        yield Blob(name, content)
    seen.update(fresh)
    if document is not None:
        yield document
        seen.add(document.hash)
    if manifest is not None and listed is not None:
        yield Manifest(manifest, manifests.encoded(listed))
        seen.add(manifest)


def _document(db: Database, row: dict[str, Any], seen: set[bytes]) -> Document | None:
    name = None if row["verdicts"] is None else bytes(row["verdicts"])
    if name is None or name in seen:
        return None
    return next((Document(*found) for found in blobs.found(db, [name])), None)


def _line_of(document: Document | None) -> tuple[bytes, ...]:
    try:
        return () if document is None else layers.line_of(document.content)
    except errors.EvidenceDamaged:  # which is for the verifier to say
        return ()


def _scan(row: dict[str, Any]) -> Scan:
    place = {name: row.pop(name) for name in ("previous", "chain", "signature", "signing_key")}
    sequence = row.pop("sequence")
    return Scan(
        sequence=sequence,
        body=chain.canonical(row, sequence),
        previous=None if place["previous"] is None else bytes(place["previous"]),
        chain=bytes(place["chain"] or b""),
        signature=bytes(place["signature"] or b""),
        signing_key=place["signing_key"] or "",
    )


def _checkpoint(row: dict[str, Any]) -> chain.Checkpoint:
    return chain.Checkpoint(
        row["host_id"], row["sequence"], bytes(row["chain"]).hex(), row["count"], row["at"]
    )
