"""Large answers: written by a few threads of their own, so that requests keep theirs.

A handler that has checked everything returns `ctx.exports.start(...)`. From then on a thread of the
pool turns the pieces into the response, no faster than the client reads.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeAlias

from openwatch import errors, log
from openwatch.db import Database
from openwatch.web.stream import Stream

AT_ONCE = 2
_PIECE = 32 * 1024  # bytes, gathered before they are sent
_AHEAD = 128 * 1024  # bytes that the client may be behind; below what drops a stream
_PAUSE = 0.02  # seconds between two looks whether the client has read on
_RETRY_AFTER = 10  # seconds

Pieces: TypeAlias = Callable[[], Iterator[bytes]]
_logger = logging.getLogger(__name__)


class Exports:
    """A pool of at most so many exports at once; there is no queue."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """Take how many may run at once."""
        self._free = threading.BoundedSemaphore(at_once)

    def start(self, db: Database, pieces: Pieces) -> Stream:
        """Return the response that `pieces` will be written to. Raise Overloaded where none is free.

        `pieces` runs in a thread of the pool, inside a database scope of its own. Where it raises,
        the connection ends without the end of the response, so that no client takes it for whole.
        """
        if not self._free.acquire(blocking=False):
            raise errors.Overloaded(
                "Other exports are running; try again when one of them has ended.",
                retry_after_seconds=_RETRY_AFTER,
            )
        stream = Stream()
        bound = {"correlation_id": log.bound("correlation_id")}
        try:
            threading.Thread(
                target=self._run, args=(db, pieces, stream, bound), name="export", daemon=True
            ).start()
        except RuntimeError:
            self._free.release()
            raise
        return stream

    def _run(
        self, db: Database, pieces: Pieces, stream: Stream, bound: dict[str, object]
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
            self._free.release()


def _sent(stream: Stream, piece: bytes) -> bool:
    """Send a piece once the client has read enough; False where it has gone.

    A client that reads nothing for a minute is dropped by its connection's own deadline.
    """
    while stream.is_open and stream.backlog > _AHEAD:
        time.sleep(_PAUSE)
    return stream.send(piece)


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
