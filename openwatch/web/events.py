"""The open streams of events of one process: how many there may be, and the thread that serves them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from uuid import UUID

from openwatch import clock, errors
from openwatch.accounts.types import Principal
from openwatch.db import Database
from openwatch.db.listen import Listener
from openwatch.stream import journal
from openwatch.stream.types import Kind
from openwatch.web.following import Follower, Reader, Tally
from openwatch.web.stream import Stream

MOST = 300  # streams at once; below what the server takes of connections, which others need too
MOST_OF_ONE = 20  # of one sign-in's user, or of one API token
TOKENS_TOO = (
    3  # times as many of a user and their API tokens together: those cost nothing to make
)
LINGER = 60.0  # seconds the thread goes on without a stream

_RETRY_AFTER = 10

_log = logging.getLogger(__name__)


class Broadcaster:
    """Holds the open streams of this process. Its thread, and its connection, live as they do."""

    def __init__(self, *, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        """Take the limits; nothing runs yet."""
        self.tally = Tally()
        self._most, self._most_of_one = most, most_of_one
        self._lock = threading.Lock()
        self._readers: dict[int, Reader] = {}
        self._count: Counter[UUID | None] = Counter()
        self._count_of_user: Counter[str] = Counter()
        self._listener: Listener | None = None  # of the running thread
        self._needed_at = 0.0  # when there last was a stream
        self._is_closed = False

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    def open(
        self,
        db: Database,
        who: Principal,
        kinds: Iterable[Kind],
        last_seen: str | None,
        admit: Callable[[], object],
    ) -> Stream:
        """Return a stream of the kinds, behind the event that the client saw last where it says so.

        `admit` raises Rejected once the caller may not read it any more. Raise RateLimited where one
        caller has too many open, Overloaded where all have.
        """
        reader = Reader(who, frozenset(kinds), admit, self._leave)
        if last_seen is not None:
            reader.resume(last_seen)
        with self._lock:
            self._require_room(reader)
            self._readers[id(reader)] = reader
            self._count[reader.who] += 1
            self._count_of_user[reader.user] += 1
            self._needed_at = clock.monotonic()
            if self._listener is None:
                self._start(db)
            else:
                self._listener.wake()
        return reader.stream

    def close(self) -> None:
        """End every stream, and the thread."""
        self._is_closed = True
        with self._lock:
            readers = list(self._readers.values())
            if self._listener is not None:
                self._listener.wake()
        for reader in readers:
            reader.stream.end()

    def _require_room(self, reader: Reader) -> None:
        of_user = self._most_of_one * TOKENS_TOO
        for count, limit in (
            (self._count[reader.who], self._most_of_one),
            (self._count_of_user[reader.user], of_user),
        ):
            if count >= limit:
                raise errors.RateLimited(
                    f"More than {limit} streams of events at once; close one.",
                    retry_after_seconds=_RETRY_AFTER,
                    limit=limit,
                    window_seconds=0,
                )
        if len(self._readers) >= self._most:
            raise errors.Overloaded(
                "Too many streams of events are open; try again later.",
                retry_after_seconds=_RETRY_AFTER,
            )

    def _leave(self, reader: Reader) -> None:
        with self._lock:
            if self._readers.pop(id(reader), None) is None:
                return
            self._count -= Counter([reader.who])  # which forgets what has come to nothing
            self._count_of_user -= Counter([reader.user])
            if self._listener is not None and not self._readers:
                self._listener.wake()

    def _start(self, db: Database) -> None:
        listener = Listener(db.separate, [journal.CHANNEL, journal.ACCESS_CHANNEL])
        follower = Follower(db, listener, self.tally)
        thread = threading.Thread(
            target=self._live, args=(follower,), name="events", daemon=True
        )
        self._listener = listener
        thread.start()

    def _live(self, follower: Follower) -> None:
        try:
            while self._goes_on():
                follower.turn(list(self._readers.values()))
        except Exception:  # noqa: BLE001 - the readers come back, and find another thread
            _log.exception("the streams of events end", extra={"event": "events.failed"})
            with self._lock:
                self._listener = None
            for reader in list(self._readers.values()):
                reader.stream.end()
        finally:
            follower.listener.close()

    def _goes_on(self) -> bool:
        """Say whether the thread is needed; where not, the next stream starts another one."""
        with self._lock:
            now = clock.monotonic()
            if self._readers:
                self._needed_at = now
            if not self._is_closed and now < self._needed_at + LINGER:
                return True
            self._listener = None
            return False
