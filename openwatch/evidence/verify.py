"""Whether a chain and everything it rests on is what was signed, and by whom.

The verifier takes records from a database or an export alike, once each, in their order. It
believes nothing that it has not hashed itself.

A trusted key vouches for the keys it endorsed, and a trusted signature for every earlier scan
that the chain leads back to: each scan's hash holds that of the one before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from openwatch import errors
from openwatch.db import Database
from openwatch.evidence import chain, layers, manifests, records
from openwatch.evidence.course import Course, HostReport
from openwatch.keys import signing, trust
from openwatch.keys.signing import PublicKey

_NAMED = {
    "corpus": "the corpus it was judged by",
    "facts": "the facts of the host",
}
_MADE_UP = {"verdicts": "the document of its verdicts", "manifest": "its manifest"}


class Report(msgspec.Struct, frozen=True):
    """What was found: host by host, the keys, and what is wrong with these."""

    hosts: tuple[HostReport, ...]
    keys: tuple[PublicKey, ...]
    signed_by: tuple[str, ...]
    trusted: tuple[str, ...]  # of the keys there are: those named, and those they endorsed
    problems: tuple[str, ...]

    @property
    def is_broken(self) -> bool:
        """True where anything is not what was signed."""
        return bool(self.problems) or any(host.problems for host in self.hosts)

    @property
    def is_authenticated(self) -> bool:
        """True where a trusted key vouches for every scan, and there is one."""
        return (
            not self.is_broken
            and any(host.scans for host in self.hosts)
            and all(host.unproven == 0 for host in self.hosts)
        )


class Verifier:
    """Takes records in their order; then it reports."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """Take the fingerprints of the keys that are trusted."""
        self._named = frozenset(trusted)
        self._keys: dict[str, PublicKey] = {}
        self._trusted: frozenset[str] | None = None
        self._signed_by: set[str] = set()
        self._sound: set[bytes] = set()
        self._manifests: dict[bytes, tuple[str, ...]] = {}  # what is wrong with each
        self._documents: dict[bytes, tuple[str, ...]] = {}  # the same
        self._damaged: set[bytes] = set()
        self._problems: list[str] = []
        self._reports: list[HostReport] = []
        self._chain: Course | None = None

    def take(self, record: records.Record) -> None:
        """Check one record."""
        if isinstance(record, PublicKey):
            self._keys[record.id] = record
        elif isinstance(record, records.Blob):
            self._hashed(record.hash, record.content)
        elif isinstance(record, records.Document):
            self._document(record)
        elif isinstance(record, records.Manifest):
            self._manifest(record)
        elif isinstance(record, records.Host):
            self._close()
            self._chain = Course(record)
        elif self._chain is None:
            self._problems.append("a scan comes before any host")
        elif isinstance(record, records.Scan):
            self._scan(self._chain, record)
        elif isinstance(record, records.Checkpoint):
            self._checkpoint(self._chain, record)
        else:
            self._chain.refuse(
                f"scan {record.id} has results, but no place in the chain: nobody signed it"
            )

    def refuse(self, what: str) -> None:
        """Note a problem that is of no host: the export itself is damaged."""
        self._problems.append(what)

    def report(self) -> Report:
        """Say what was found. No record follows."""
        self._close()
        for key in self._keys.values():
            self._problems += trust.wrong_with(key, self._keys)
        return Report(
            hosts=tuple(self._reports),
            keys=tuple(self._keys.values()),
            signed_by=tuple(sorted(self._signed_by)),
            trusted=tuple(sorted(self._trusted_keys())),
            problems=tuple(self._problems),
        )

    def _close(self) -> None:
        """End the chain of a host: what is pending now stays unproven."""
        if self._chain is not None:
            self._reports.append(self._chain.report())
            self._chain = None

    def _hashed(self, name: bytes, content: bytes) -> bool:
        is_sound = hashlib.sha256(content).digest() == name
        (self._sound if is_sound else self._damaged).add(name)
        return is_sound

    def _manifest(self, record: records.Manifest) -> None:
        if not self._hashed(record.hash, record.content):
            return
        try:
            entries = manifests.decoded(record.content)
        except errors.InvalidInput:
            self._manifests[record.hash] = ("its manifest is not in a form known here",)
            return
        self._manifests[record.hash] = tuple(
            f"the answer to probe {entry.probe} ({self._state(entry.blob)})"
            for entry in entries
            if entry.blob is not None and entry.blob not in self._sound
        )

    def _document(self, record: records.Document) -> None:
        if not self._hashed(record.hash, record.content):
            return
        try:
            line = layers.line_of(record.content)
        except errors.EvidenceDamaged as unknown:
            self._documents[record.hash] = (unknown.message,)
            return
        self._documents[record.hash] = tuple(
            f"what the document of its verdicts lies on ({self._state(name)})"
            for name in line
            if name not in self._sound
        )

    def _state(self, name: bytes) -> str:
        how = "has been changed" if name in self._damaged else "is missing"
        return f"{name.hex()[:16]}... {how}"

    # -- links ---------------------------------------------------------------------------------

    def _scan(self, host: Course, scan: records.Scan) -> None:
        body, wrong = _body(scan.body), []
        where = f"scan {body.get('id', '?')} (sequence {scan.sequence})"
        if body.get("host_id") != str(host.host.id) or body.get("sequence") != scan.sequence:
            wrong.append("belongs to another host or place")
        wrong += host.follows(scan)
        if chain.digest(scan.previous, scan.body) != scan.chain:
            wrong.append("has been changed since it was signed")
        wrong += self._unsigned(scan.signing_key, chain.signed(scan.chain), scan.signature)
        wrong += self._contents(body)
        for what in wrong:
            host.refuse(f"{where}: {what}")
        is_trusted = scan.signing_key in self._trusted_keys()
        host.add(scan, str(body.get("recorded_at") or ""), is_trusted=is_trusted)

    def _unsigned(self, key: str, message: bytes, signature: bytes) -> list[str]:
        self._signed_by.add(key)
        known = self._keys.get(key)
        if known is None:
            return [f"the key {key or '(none)'} that signed it is not there"]
        if signing.is_signed(known.public_key, message, signature):
            return []
        return [f"the signature is not that of key {key}"]

    def _contents(self, body: Mapping[str, Any]) -> list[str]:
        """Say what of that which a scan rests on is missing or has been changed."""
        wrong = []
        for name, called in _NAMED.items():
            digest = _hash(body.get(name))
            if digest is not None and digest not in self._sound:
                wrong.append(f"{called} ({self._state(digest)})")
        for name, known in (("verdicts", self._documents), ("manifest", self._manifests)):
            digest = _hash(body.get(name))
            if digest is not None:
                missing = (f"{_MADE_UP[name]} ({self._state(digest)})",)
                wrong += known.get(digest, missing)
        return wrong

    def _checkpoint(self, host: Course, record: records.Checkpoint) -> None:
        wrong = self._unsigned(
            record.signing_key, chain.signed_checkpoint(record.body), record.signature
        )
        try:
            found = msgspec.json.decode(record.body, type=chain.Checkpoint)
        except msgspec.MsgspecError:
            wrong.append("it is not in a form known here")
        else:
            if found.host_id != host.host.id:
                wrong.append("it is of another host")
            host.checkpoint = found
        for what in wrong:
            host.refuse(f"checkpoint: {what}")
        if record.signing_key not in self._trusted_keys():
            host.unproven += 1

    def _trusted_keys(self) -> frozenset[str]:
        """Return the named keys and all that these endorsed; complete once a host has begun."""
        if self._trusted is None:
            self._trusted = trust.trusted(self._keys, self._named)
        return self._trusted


def verify(
    db: Database, hosts: Iterable[tuple[int, records.Host]], trusted: Iterable[str] = ()
) -> Report:
    """Verify the chains of these hosts of a database."""
    verifier = Verifier(trusted)
    for record in records.walk(db, tuple(hosts)):
        verifier.take(record)
    return verifier.report()


def _body(text: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _hash(text: object) -> bytes | None:
    if text is None:
        return None
    try:
        return bytes.fromhex(str(text))
    except ValueError:
        return b""
