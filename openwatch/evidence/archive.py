"""Evidence as one file that needs no database: a compressed tar in the order of the records.

docs/evidence.md describes the format. The file is somebody's word, so reading it writes nothing,
and holds no more than one member and the hashes that were seen.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from openwatch import __version__, clock, errors, ids
from openwatch.evidence import records
from openwatch.keys.signing import PublicKey

FORMAT = 1
_HEAD, _END = "openwatch-evidence.json", "end.json"
_LARGEST = 256 << 20
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

T = TypeVar("T")


class _Head(msgspec.Struct, frozen=True):
    format: int
    made_by: str
    made_at: str


class _End(msgspec.Struct, frozen=True):
    members: int  # before this one


class _Host(msgspec.Struct, frozen=True):
    name: str


class _Seal(msgspec.Struct, frozen=True):
    """Who signed the member that follows, and for a scan its place in the chain; hashes in hex."""

    signing_key: str
    signature: str
    chain: str = ""
    previous: str | None = None


def write(
    path: Path, stream: Iterable[records.Record]
) -> Generator[records.Record, None, None]:
    """Write an export as the records pass through; the file is there, whole, after the last one.

    It is 0600: it holds what every host answered. Raise ConfigError where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{ids.new_id().hex[:8]}")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                with tarfile.open(fileobj=file, mode="w|gz") as tar:
                    yield from _written(_Members(tar), stream)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _settle(path.parent)
    except OSError as error:
        raise errors.ConfigError(f"{path} cannot be written: {error.strerror}") from None


def read(path: Path) -> Generator[records.Record, None, None]:
    """Yield the records of an export.

    Raise ConfigError where it cannot be opened or is none, InvalidInput where it is damaged.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise errors.ConfigError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        is_gzip = file.peek(2)[:2] == b"\x1f\x8b"
        members = _read_members(file)
        name, content = next(members, ("", b"")) if is_gzip else ("", b"")
        if name != _HEAD:
            raise errors.ConfigError(f"{path} is not an export of evidence")
        head = _decoded(content, _Head, name)
        if head.format != FORMAT:
            raise errors.ConfigError(
                f"{path} is an export of format {head.format}, this program reads {FORMAT}"
            )
        yield from _Reader(members).each()


class _Members:
    """Adds members to a tar and counts them."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.count = 0

    def add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o600
        self._tar.addfile(member, io.BytesIO(content))
        self._tar.members.clear()  # type: ignore[attr-defined] # it would keep them all
        self.count += 1

    def say(self, name: str, body: Any) -> None:
        self.add(name, msgspec.json.encode(body))


def _written(
    out: _Members, stream: Iterable[records.Record]
) -> Generator[records.Record, None, None]:
    made = _Head(FORMAT, f"openwatch {__version__}", clock.rfc3339(clock.now()))
    out.say(_HEAD, made)
    host = ""
    for record in stream:
        if isinstance(record, PublicKey):
            out.say(f"keys/{record.id}.json", record)
        elif isinstance(record, records.Blob):
            out.add(f"blobs/{record.hash.hex()}", record.content)
        elif isinstance(record, records.Document):
            out.add(f"documents/{record.hash.hex()}", record.content)
        elif isinstance(record, records.Manifest):
            out.add(f"manifests/{record.hash.hex()}", record.content)
        elif isinstance(record, records.Host):
            host = f"hosts/{record.id}"
            out.say(f"{host}/host.json", _Host(record.name))
        elif isinstance(record, records.Unchained):
            out.add(f"{host}/unchained/{record.id}", b"")
        else:
            name = f"{host}/checkpoint"
            seal = _Seal(record.signing_key, record.signature.hex())
            if isinstance(record, records.Scan):
                name = f"{host}/scans/{record.sequence}"
                previous = None if record.previous is None else record.previous.hex()
                seal = _Seal(seal.signing_key, seal.signature, record.chain.hex(), previous)
            out.say(f"{name}.seal.json", seal)
            out.add(f"{name}.json", record.body)
        yield record
    out.say(_END, _End(out.count))


class _Reader:
    """Turns members into records."""

    def __init__(self, members: Iterator[tuple[str, bytes]]) -> None:
        self._members = members
        self._host = ""
        self._sealed: tuple[str, _Seal] | None = None
        self._read = 1  # the head
        self._kinds: tuple[
            tuple[re.Pattern[str], Callable[..., records.Record | None]], ...
        ] = (
            (re.compile(r"blobs/([0-9a-f]{64})"), self._blob),
            (re.compile(r"documents/([0-9a-f]{64})"), self._document),
            (re.compile(r"manifests/([0-9a-f]{64})"), self._manifest),
            (re.compile(r"keys/([0-9a-f]{32})\.json"), self._key),
            (re.compile(rf"hosts/({_UUID})/host\.json"), self._begin),
            (re.compile(rf"hosts/({_UUID})/(checkpoint|scans/\d+)\.seal\.json"), self._seal),
            (re.compile(rf"hosts/({_UUID})/checkpoint\.json"), self._checkpoint),
            (re.compile(rf"hosts/({_UUID})/scans/(\d{{1,18}})\.json"), self._scan),
            (re.compile(rf"hosts/({_UUID})/unchained/({_UUID})"), self._unchained),
        )

    def each(self) -> Generator[records.Record, None, None]:
        for name, content in self._members:
            if name == _END:
                if _decoded(content, _End, name).members != self._read:
                    raise errors.InvalidInput("members have been taken out of the export")
                for more, _ in self._members:
                    raise errors.InvalidInput(
                        f"{_printable(more)} follows the end of the export"
                    )
                return
            record = self._record(name, content)
            if record is not None:
                yield record
            self._read += 1
        raise errors.InvalidInput(f"the export ends after {self._read} members, before its end")

    def _record(self, name: str, content: bytes) -> records.Record | None:
        for pattern, made in self._kinds:
            found = pattern.fullmatch(name)
            if found:
                if name.startswith("hosts/") and made != self._begin:
                    self._require_host(found[1], name)
                return made(content, name, *found.groups())
        raise errors.InvalidInput(f"the export holds {_printable(name)}, which belongs to none")

    def _require_host(self, host: str, name: str) -> None:
        if host != self._host:
            raise errors.InvalidInput(f"{_printable(name)} is not where its host is")

    def _blob(self, content: bytes, _name: str, digest: str) -> records.Record:
        return records.Blob(bytes.fromhex(digest), content)

    def _document(self, content: bytes, _name: str, digest: str) -> records.Record:
        return records.Document(bytes.fromhex(digest), content)

    def _manifest(self, content: bytes, _name: str, digest: str) -> records.Record:
        return records.Manifest(bytes.fromhex(digest), content)

    def _key(self, content: bytes, name: str, key: str) -> records.Record:
        found = _decoded(content, PublicKey, name)
        if found.id != key:
            raise errors.InvalidInput(f"{name} holds another key")
        return found

    def _begin(self, content: bytes, name: str, host: str) -> records.Record:
        self._host = host
        return records.Host(UUID(host), _printable(_decoded(content, _Host, name).name))

    def _seal(self, content: bytes, name: str, host: str, what: str) -> None:
        self._sealed = (f"hosts/{host}/{what}.json", _decoded(content, _Seal, name))

    def _checkpoint(self, content: bytes, name: str, _host: str) -> records.Record:
        seal = self._seal_of(name)
        return records.Checkpoint(content, _hex(seal.signature, name), seal.signing_key)

    def _scan(self, content: bytes, name: str, _host: str, sequence: str) -> records.Record:
        seal = self._seal_of(name)
        return records.Scan(
            sequence=int(sequence),
            body=content,
            previous=None if seal.previous is None else _hex(seal.previous, name),
            chain=_hex(seal.chain, name),
            signature=_hex(seal.signature, name),
            signing_key=seal.signing_key,
        )

    def _unchained(self, _content: bytes, _name: str, _host: str, scan: str) -> records.Record:
        return records.Unchained(UUID(scan))

    def _seal_of(self, name: str) -> _Seal:
        if self._sealed is None or self._sealed[0] != name:
            raise errors.InvalidInput(f"{name} comes without its seal")
        _, seal = self._sealed
        self._sealed = None
        return seal


def _read_members(file: io.BufferedReader) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of a compressed tar. Raise InvalidInput where it is damaged."""
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined] # it would keep them all
                opened = tar.extractfile(member) if member.isreg() else None
                if opened is None or member.size > _LARGEST:
                    raise errors.InvalidInput(
                        f"the export holds {_printable(member.name)}, which is no plain file"
                    )
                yield member.name, opened.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise errors.InvalidInput(f"the file is damaged: {error}") from None


def _decoded(content: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise errors.InvalidInput(f"{_printable(name)} cannot be read: {error}") from None


def _hex(text: str, name: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise errors.InvalidInput(f"{name}: its seal is not in hex") from None


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def _settle(folder: Path) -> None:
    """Make a renamed file outlive a power cut, where the filesystem can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
