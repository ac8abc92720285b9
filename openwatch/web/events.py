"""What happens, sent to open streams by one thread, from whichever process it happened in.

Each stream has a place in the journal: behind it is what it has yet to be sent. Most are at the
end and share what is read once for all of them; one that comes back reads on from where it was.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from uuid import UUID

from openwatch import clock, errors, log
from openwatch.accounts.types import Principal
from openwatch.db import Database
from openwatch.db.listen import Listener
from openwatch.stream import journal
from openwatch.stream.types import Event, Kind
from openwatch.web.stream import Stream

MOST = 300  # streams at once; below what the server takes of connections, which others need too
MOST_OF_ONE = 20
BEHIND = 256 * 1024  # bytes a reader may be behind
CHECK_EVERY = 30.0  # seconds between two looks at whether the reader still may
KEEPALIVE = 15.0
LINGER = 60.0  # seconds the thread goes on without a stream

_PACE = (
    0.1  # seconds between two readings of the journal, so that a burst is sent in few pieces
)
_POLL = 5.0  # seconds after which the journal is read without having been told to
_RECENT = 1000  # events kept for all streams
_PAGE = 200  # events that a stream reads of its own, once the client has taken the last ones
_AHEAD = 64 * 1024  # bytes that it may have yet to take then
_CHECKS = 25  # that are made in a row before the streams get their events
_CHECK_AGAIN = 5.0  # seconds, where the database could not say
_RETRY_AFTER = 10
_OPENING = b": open\n\n"
_KEEPALIVE_FRAME = b":keepalive\n\n"

_log = logging.getLogger(__name__)


class _Reader:
    """One open stream: what it wants, where it is, and how to ask whether it still may."""

    __slots__ = ("admit", "check_at", "is_replaying", "kinds", "place", "stream", "user", "who")

    def __init__(
        self,
        stream: Stream,
        who: Principal,
        kinds: frozenset[Kind],
        admit: Callable[[], object],
    ) -> None:
        self.stream = stream
        self.who: UUID | None = who.token_id or who.user_id
        self.user = str(who.user_id)
        self.kinds = kinds
        self.admit = admit
        self.place: int | None = None  # not known yet: from now on
        self.is_replaying = False
        self.check_at = 0.0  # what ended since the request was authorised was not heard


class Broadcaster:
    """Holds the open streams of this process. Its thread, and its connection, live as they do."""

    def __init__(self, *, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        """Take the limits; nothing runs yet."""
        self.dropped = 0  # streams whose reader was too slow
        self.sent = 0  # frames
        self._most, self._most_of_one = most, most_of_one
        self._lock = threading.Lock()
        self._readers: dict[int, _Reader] = {}
        self._count: Counter[UUID | None] = Counter()
        self._listener: Listener | None = None  # of the running thread
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
        reader = _Reader(
            Stream(_OPENING, lambda: self._leave(reader)), who, frozenset(kinds), admit
        )
        if last_seen is not None:
            is_number = last_seen.isascii() and last_seen.isdecimal() and len(last_seen) < 19
            reader.place = int(last_seen) if is_number else -1
            reader.is_replaying = True
        with self._lock:
            self._require_room(reader.who)
            self._readers[id(reader)] = reader
            self._count[reader.who] += 1
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

    def _require_room(self, who: UUID | None) -> None:
        if self._count[who] >= self._most_of_one:
            raise errors.RateLimited(
                f"More than {self._most_of_one} streams of events at once; close one.",
                retry_after_seconds=_RETRY_AFTER,
                limit=self._most_of_one,
                window_seconds=0,
            )
        if len(self._readers) >= self._most:
            raise errors.Overloaded(
                "Too many streams of events are open; try again later.",
                retry_after_seconds=_RETRY_AFTER,
            )

    def _leave(self, reader: _Reader) -> None:
        with self._lock:
            if self._readers.pop(id(reader), None) is None:
                return
            self._count[reader.who] -= 1
            if not self._count[reader.who]:
                del self._count[reader.who]
            if self._listener is not None and not self._readers:
                self._listener.wake()

    def _start(self, db: Database) -> None:
        listener = Listener(db.separate, [journal.CHANNEL, journal.ACCESS_CHANNEL])
        run = _Run(self, db, listener)
        thread = threading.Thread(target=self._live, args=(run,), name="events", daemon=True)
        self._listener = listener
        thread.start()

    def _live(self, run: _Run) -> None:
        try:
            while self._goes_on(run):
                run.turn(list(self._readers.values()))
        except Exception:  # noqa: BLE001 - the readers come back, and find another thread
            _log.exception("the streams of events end", extra={"event": "events.failed"})
            with self._lock:
                self._listener = None
            for reader in list(self._readers.values()):
                reader.stream.end()
        finally:
            run.listener.close()

    def _goes_on(self, run: _Run) -> bool:
        """Say whether the thread is needed; where not, the next stream starts another one."""
        with self._lock:
            now = clock.monotonic()
            if self._readers:
                run.needed_at = now
            if not self._is_closed and now < run.needed_at + LINGER:
                return True
            self._listener = None
            return False


class _Run:
    """What the thread knows, from its first turn to its last. Nobody else touches it."""

    def __init__(self, owner: Broadcaster, db: Database, listener: Listener) -> None:
        self.listener = listener
        self.needed_at = clock.monotonic()
        self._owner = owner
        self._db = db
        self._opened = 0
        self._seen: int | None = None  # up to where the journal has been read
        self._start = 0  # the place behind which `recent` begins
        self._floor = 0
        self._recent: deque[tuple[int, str, bytes]] = deque()
        self._read_at = 0.0  # when the journal may be read again
        self._poll_at = 0.0
        self._is_told = True  # that there is something to read
        self._keepalive_at = clock.monotonic() + KEEPALIVE
        self._is_failing = False

    def turn(self, readers: list[_Reader]) -> None:
        """Wait for something to do, and do it for these streams."""
        for channel, payload in self.listener.wait(self._patience(readers)):
            if channel == journal.CHANNEL:
                self._is_told = True
            else:
                _suspect(readers, payload)
        if self.listener.opened != self._opened:  # what came meanwhile was not heard
            self._opened, self._is_told = self.listener.opened, True
            _suspect(readers, "")
        now = clock.monotonic()
        self._keep_alive(readers, now)
        if not readers:
            return
        try:
            self._work(readers, now)
            self._is_failing = False
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread serves the others
            if not self._is_failing:
                log.event(
                    _log,
                    logging.WARNING,
                    "events.paused",
                    f"streams of events wait, trying again: {type(error).__name__}: {error}",
                )
            self._is_failing = True
            self._read_at = now + 1.0

    def _patience(self, readers: list[_Reader]) -> float:
        """Return how long nothing needs to be done."""
        now = clock.monotonic()
        if not readers:
            return 1.0
        due = [self._keepalive_at, self._poll_at, *(reader.check_at for reader in readers)]
        if self._is_told or any(self._is_behind(reader) for reader in readers):
            due.append(self._read_at)
        wait = max(0.0, min(due) - now)
        return max(wait, self._read_at - now, 0.0) if self._is_failing else wait

    def _is_behind(self, reader: _Reader) -> bool:
        return self._seen is None or reader.place != self._seen

    def _keep_alive(self, readers: list[_Reader], now: float) -> None:
        if now < self._keepalive_at:
            return
        self._keepalive_at = now + KEEPALIVE
        for reader in readers:
            reader.stream.send(_KEEPALIVE_FRAME)

    def _work(self, readers: list[_Reader], now: float) -> None:
        suspects = [reader for reader in readers if reader.check_at <= now]
        is_due = now >= self._read_at and (
            self._is_told or now >= self._poll_at or any(map(self._is_behind, readers))
        )
        if not (suspects or is_due):
            return
        with self._db.pulse.watched(), self._db.scope():
            for reader in suspects[:_CHECKS]:
                _check(reader)
            if not is_due:
                return
            self._read_at, self._poll_at = now + _PACE, now + _POLL
            self._read()
            self._is_told = False
            for reader in readers:
                if reader.check_at > now and self._is_behind(reader):
                    self._serve(reader)

    def _read(self) -> None:
        """Read what has happened since the last time, once for all streams."""
        bounds = journal.settle(self._db)
        self._floor = bounds.floor
        if self._seen is None or not bounds.holds_all_since(self._seen):
            self._recent.clear()
            self._seen = self._start = bounds.last
        while self._seen < bounds.last:
            events = journal.since(self._db, self._seen, bounds.last, Kind, _RECENT)
            self._recent.extend((e.place, e.kind, _frame(e)) for e in events)
            self._seen = events[-1].place if len(events) == _RECENT else bounds.last
        while len(self._recent) > _RECENT:
            self._start = self._recent.popleft()[0]

    def _serve(self, reader: _Reader) -> None:
        assert self._seen is not None  # noqa: S101 - read before
        if reader.place is None:
            reader.place = self._seen
            reader.stream.send(b"id: %d\n\n" % self._seen)
        elif not self._floor <= reader.place <= self._seen:
            self._resync(reader)
        elif reader.is_replaying or reader.place < self._start:
            self._replay(reader)
        else:
            frames = [
                f for p, kind, f in self._recent if p > reader.place and kind in reader.kinds
            ]
            reader.place = self._seen
            self._send(reader, frames)

    def _replay(self, reader: _Reader) -> None:
        """Send the next page of what a stream has missed, once the client has taken the last."""
        assert self._seen is not None  # noqa: S101 - read before
        assert reader.place is not None  # noqa: S101 - it has one where it replays
        if reader.stream.backlog > _AHEAD:
            return
        events = journal.since(self._db, reader.place, self._seen, reader.kinds, _PAGE)
        reader.is_replaying = len(events) == _PAGE
        reader.place = events[-1].place if reader.is_replaying else self._seen
        self._send(reader, [_frame(event) for event in events])

    def _send(self, reader: _Reader, frames: list[bytes]) -> None:
        data = b"".join(frames)
        if not data:
            return
        if reader.stream.backlog + len(data) > BEHIND:
            self._resync(reader)
            reader.stream.end()
            self._owner.dropped += 1
        elif reader.stream.send(data):
            self._owner.sent += len(frames)

    def _resync(self, reader: _Reader) -> None:
        """Tell a client to read everything anew: what it has missed cannot be told."""
        assert self._seen is not None  # noqa: S101 - read before
        reader.place, reader.is_replaying = self._seen, False
        at = clock.rfc3339(clock.now())
        reader.stream.send(
            f'id: {self._seen}\nevent: resync\ndata: {{"kind":"resync","timestamp":"{at}",'
            '"payload":{}}\n\n'.encode()
        )


def _suspect(readers: list[_Reader], user: str) -> None:
    """Have it asked at once whether a user's streams may go on; "" means everybody's."""
    for reader in readers:
        if not user or reader.user == user:
            reader.check_at = 0.0


def _check(reader: _Reader) -> None:
    try:
        reader.admit()
    except errors.Rejected:
        reader.stream.end()
    except errors.StorageError:
        reader.check_at = clock.monotonic() + _CHECK_AGAIN
        raise
    else:
        reader.check_at = clock.monotonic() + CHECK_EVERY


def _frame(event: Event) -> bytes:
    head = f'id: {event.place}\nevent: {event.kind}\ndata: {{"kind":"{event.kind}",'
    rest = f'"timestamp":"{clock.rfc3339(event.at)}","payload":'
    return (head + rest).encode() + bytes(event.payload) + b"}\n\n"
