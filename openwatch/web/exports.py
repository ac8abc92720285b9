"""Large answers: written by a few threads of their own, so that requests keep theirs.

A handler that has checked everything returns `ctx.exports.start(...)`. From then on a thread of the
pool turns the pieces into the response, no faster than the client reads. Places are few, so nobody
has two of them, and who reads next to nothing, or may not read any more, loses theirs.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeAlias
from uuid import UUID

from openwatch import clock, errors, log
from openwatch.db import Database
from openwatch.web.stream import Stream

AT_ONCE = 2
_PIECE = 32 * 1024  # bytes, gathered before they are sent
_AHEAD = 128 * 1024  # bytes that the client may be behind; below what drops a stream
_PAUSE = 0.02  # seconds between two looks whether the client has read on
_PATIENCE = 30.0  # seconds in which a client takes a piece, once it is that far behind
_CHECK_EVERY = 30.0  # seconds between two looks at whether the reader still may
_RETRY_AFTER = 10  # seconds

Pieces: TypeAlias = Callable[[], Iterator[bytes]]
_logger = logging.getLogger(__name__)


class Exports:
    """A pool of at most so many exports at once; there is no queue."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """Take how many may run at once."""
        self._free = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._readers: set[UUID] = set()

    def start(
        self,
        db: Database,
        pieces: Pieces,
        *,
        reader: UUID | None = None,
        admit: Callable[[], object] = lambda: None,
    ) -> Stream:
        """Return the response that `pieces` will be written to.

        `pieces` runs in a thread of the pool, inside a database scope of its own. Where it raises,
        or `admit` does (Rejected: the reader may not any more), the connection ends without the end
        of the response, so that no client takes it for whole. Raise Overloaded where no place is
        free, or the reader has one already.
        """
        self._take_place(reader)
        stream = Stream()
        admitted = functools.partial(_admitted, pieces, admit)
        bound = {"correlation_id": log.bound("correlation_id")}
        try:
            threading.Thread(
                target=self._run,
                args=(db, admitted, stream, reader, bound),
                name="export",
                daemon=True,
            ).start()
        except RuntimeError:
            self._leave_place(reader)
            raise
        return stream

    def _take_place(self, reader: UUID | None) -> None:
        with self._lock:
            if reader is not None and reader in self._readers:
                raise _overloaded("An export of yours is running; wait for its end.")
            if not self._free.acquire(blocking=False):
                raise _overloaded(
                    "Other exports are running; try again when one of them has ended."
                )
            if reader is not None:
                self._readers.add(reader)

    def _leave_place(self, reader: UUID | None) -> None:
        with self._lock:
            if reader is not None:
                self._readers.discard(reader)
            self._free.release()

    def _run(
        self,
        db: Database,
        pieces: Pieces,
        stream: Stream,
        reader: UUID | None,
        bound: dict[str, object],
    ) -> None:
        try:
            with (
                log.bind(**bound),
                db.pulse.watched(),
                db.scope(),
                contextlib.closing(_gathered(pieces())) as gathered,
            ):
                is_whole = all(_sent(stream, piece) for piece in gathered)
            if is_whole:
                stream.end()
        except Exception as error:  # noqa: BLE001 - whatever it was, the client must not take this for whole
            log.event(
                _logger,
                logging.ERROR,
                "export.failed",
                f"an export ended before its end: {type(error).__name__}: {error}",
                **bound,
            )
        finally:
            stream.abort()
            self._leave_place(reader)


def _sent(stream: Stream, piece: bytes) -> bool:
    """Send a piece once the client has read enough; False where it has gone, or reads too slowly."""
    until = clock.monotonic() + _PATIENCE
    while stream.is_open and stream.backlog > _AHEAD:
        if clock.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return stream.send(piece)


def _admitted(pieces: Pieces, admit: Callable[[], object]) -> Iterator[bytes]:
    """Yield the same while the reader may have it; `admit` raises where they may not."""
    check_at = clock.monotonic() + _CHECK_EVERY
    for piece in pieces():
        if clock.monotonic() >= check_at:
            admit()
            check_at = clock.monotonic() + _CHECK_EVERY
        yield piece


def _overloaded(sentence: str) -> errors.Overloaded:
    return errors.Overloaded(sentence, retry_after_seconds=_RETRY_AFTER)


def _gathered(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Yield the same bytes in fewer pieces, none of them empty: that would end the response."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= _PIECE:
            yield bytes(held[:_PIECE])
            del held[:_PIECE]
    if held:
        yield bytes(held)
