"""Open streams, as far as they are in the journal of events, and what the one thread does for them.

Each stream has a place in the journal: behind it is what it has yet to be sent. Most are at the
end and share what is read once for all of them; one that comes back reads on from where it was.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from uuid import UUID

from openwatch import clock, errors, log
from openwatch.accounts.types import Principal
from openwatch.db import Database
from openwatch.db.listen import Listener
from openwatch.stream import journal
from openwatch.stream.types import Event, Kind
from openwatch.web.stream import Stream

BEHIND = 256 * 1024  # bytes a reader may be behind
CHECK_EVERY = 30.0  # seconds between two looks at whether the reader still may
KEEPALIVE = 15.0

_PACE = (
    0.1  # seconds between two readings of the journal, so that a burst is sent in few pieces
)
_POLL = 5.0  # seconds after which the journal is read without having been told to
_RECENT = 1000  # events kept for all streams
_PAGE = 200  # events that a stream reads of its own, once the client has taken the last ones
_AHEAD = 64 * 1024  # bytes that it may have yet to take then
_CHECKS = 25  # that are made in a row before the streams get their events
_CHECK_AGAIN = 5.0  # seconds, where the database could not say
_OPENING = b": open\n\n"
_KEEPALIVE_FRAME = b":keepalive\n\n"

_log = logging.getLogger(__name__)


class Reader:
    """One open stream: what it wants, where it is, and how to ask whether it still may."""

    __slots__ = ("admit", "check_at", "is_replaying", "kinds", "place", "stream", "user", "who")

    def __init__(
        self,
        who: Principal,
        kinds: frozenset[Kind],
        admit: Callable[[], object],
        on_end: Callable[[Reader], None],
    ) -> None:
        """Take who reads what, `admit` (raises Rejected once they may not), whom to tell of the end."""
        self.stream = Stream(_OPENING, lambda: on_end(self))
        self.who: UUID | None = who.token_id or who.user_id
        self.user = str(who.user_id)
        self.kinds = kinds
        self.admit = admit
        self.place: int | None = None  # not known yet: from now on
        self.is_replaying = False
        self.check_at = 0.0  # what ended since the request was authorised was not heard

    def resume(self, last_seen: str) -> None:
        """Begin behind the event that the client says it saw last; where it cannot be, resync."""
        is_number = last_seen.isascii() and last_seen.isdecimal() and len(last_seen) < 19
        self.place = int(last_seen) if is_number else -1
        self.is_replaying = True


class Tally:
    """What is counted of all streams that there have been."""

    __slots__ = ("dropped", "sent")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.dropped = 0  # streams whose reader was too slow
        self.sent = 0  # events


class Follower:
    """Follows the journal for all streams, in the one thread that touches it."""

    def __init__(self, db: Database, listener: Listener, tally: Tally) -> None:
        """Take the collaborators; nothing is read yet."""
        self.listener = listener
        self._db = db
        self._tally = tally
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

    def turn(self, readers: list[Reader]) -> None:
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

    def _patience(self, readers: list[Reader]) -> float:
        """Return how long nothing needs to be done."""
        now = clock.monotonic()
        if not readers:
            return 1.0
        due = [self._keepalive_at, self._poll_at, *(reader.check_at for reader in readers)]
        if self._is_told or any(self._is_behind(reader) for reader in readers):
            due.append(self._read_at)
        wait = max(0.0, min(due) - now)
        return max(wait, self._read_at - now, 0.0) if self._is_failing else wait

    def _is_behind(self, reader: Reader) -> bool:
        return self._seen is None or reader.place != self._seen

    def _keep_alive(self, readers: list[Reader], now: float) -> None:
        if now < self._keepalive_at:
            return
        self._keepalive_at = now + KEEPALIVE
        for reader in readers:
            reader.stream.send(_KEEPALIVE_FRAME)

    def _work(self, readers: list[Reader], now: float) -> None:
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

    def _serve(self, reader: Reader) -> None:
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

    def _replay(self, reader: Reader) -> None:
        """Send the next page of what a stream has missed, once the client has taken the last."""
        assert self._seen is not None  # noqa: S101 - read before
        assert reader.place is not None  # noqa: S101 - it has one where it replays
        if reader.stream.backlog > _AHEAD:
            return
        events = journal.since(self._db, reader.place, self._seen, reader.kinds, _PAGE)
        reader.is_replaying = len(events) == _PAGE
        reader.place = events[-1].place if reader.is_replaying else self._seen
        self._send(reader, [_frame(event) for event in events])

    def _send(self, reader: Reader, frames: list[bytes]) -> None:
        data = b"".join(frames)
        if not data:
            return
        if reader.stream.backlog + len(data) > BEHIND:
            self._resync(reader)
            reader.stream.end()
            self._tally.dropped += 1
        elif reader.stream.send(data):
            self._tally.sent += len(frames)

    def _resync(self, reader: Reader) -> None:
        """Tell a client to read everything anew: what it has missed cannot be told."""
        assert self._seen is not None  # noqa: S101 - read before
        reader.place, reader.is_replaying = self._seen, False
        at = clock.rfc3339(clock.now())
        reader.stream.send(
            f'id: {self._seen}\nevent: resync\ndata: {{"kind":"resync","timestamp":"{at}",'
            '"payload":{}}\n\n'.encode()
        )


def _suspect(readers: list[Reader], user: str) -> None:
    """Have it asked at once whether a user's streams may go on; "" means everybody's."""
    for reader in readers:
        if not user or reader.user == user:
            reader.check_at = 0.0


def _check(reader: Reader) -> None:
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
