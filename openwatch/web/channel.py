"""One connection: TLS inside waitress's event loop, with deadlines, and open streams.

The loop never waits for a client. A connection is looked at first (TLS or not), then shakes
hands, then carries requests; a request thread writes to it only through its buffers. Every phase
has a deadline that the listener enforces, so a slow or silent client costs one socket.
"""

from __future__ import annotations

import enum
import socket
import ssl
from typing import TYPE_CHECKING, Any

from waitress.channel import HTTPChannel

from openwatch import clock
from openwatch.web import tls
from openwatch.web.requests import ErrorTask, Parser, Task
from openwatch.web.stream import Stream

if TYPE_CHECKING:
    from openwatch.web.server import Listener

HANDSHAKE = 10.0  # seconds, from the connection on
HEADERS = 10.0  # from the first byte of a request, or from the handshake for the first one
BODY = 30.0  # from the first byte of a request to the last
WRITE = 60.0  # without the client taking a single byte
IDLE = 120.0  # between two requests
LINGER = 2.0  # for the client to read our last words before the socket goes

_TLS_RECORD = 16 * 1024  # what one write can send; the rest of a larger piece is copied again
_STREAM_BACKLOG = 256 * 1024  # bytes a stream's client may be behind


class Phase(enum.Enum):
    """Where a connection is in its life."""

    LOOK = "look"  # nothing read yet: is it TLS?
    SHAKE = "shake"
    OPEN = "open"
    STREAM = "stream"  # a response that goes on; nothing more is read as requests
    LINGER = "linger"  # all is said; waiting for the client to hang up


class Channel(HTTPChannel):  # type: ignore[misc] # waitress is untyped
    """A client's connection."""

    parser_class = Parser
    task_class = Task
    error_task_class = ErrorTask
    socket: Any  # a socket, later the TLS socket around it, None when closed

    def __init__(self, server: Listener, sock: Any, addr: Any, adj: Any, sockets: Any) -> None:
        """Take an accepted socket; nothing is read yet."""
        self.phase = Phase.LOOK
        self._wants_write = False
        self._since = clock.monotonic()  # the phase's, or the running request's, beginning
        self._has_served = False
        self._is_in_request = False
        self._bytes_sent = 0
        self._progress = (0, self._since)
        self._stream: Stream | None = None
        self._is_chunked = False
        super().__init__(server, sock, addr, adj, map=sockets)
        self.sendbuf_len = _TLS_RECORD

    def readable(self) -> bool:
        """Say whether the loop should watch for something to read."""
        if self.socket is None:
            return False
        if self.phase in (Phase.LOOK, Phase.SHAKE):
            return not self._wants_write
        if self.phase in (Phase.STREAM, Phase.LINGER):
            return True
        return bool(super().readable())

    def writable(self) -> bool:
        """Say whether the loop should watch for room to write."""
        if self.socket is None or self.phase is Phase.LINGER:
            return False
        if self.phase in (Phase.LOOK, Phase.SHAKE):
            return self._wants_write
        return bool(super().writable())

    def deadline(self, now: float) -> float | None:
        """Return when this connection has taken too long, None where it may take its time."""
        if self.phase is Phase.LINGER:
            return self._since + LINGER
        if self.phase in (Phase.LOOK, Phase.SHAKE):
            return self._since + HANDSHAKE
        sent, at = self._progress
        if not self.total_outbufs_len or sent != self._bytes_sent:
            self._progress = (self._bytes_sent, now)
        else:
            return at + WRITE
        if self.requests or self.phase is Phase.STREAM:
            self._since = now
            return None
        if self.request is not None and self.request.headers_finished:
            return self._since + BODY
        return self._since + (IDLE if self._has_served and self.request is None else HEADERS)

    @property
    def may_be_dropped(self) -> bool:
        """True where no request runs and none is being read: nobody loses an answer."""
        if self.phase is Phase.OPEN:
            return not (self.requests or self.total_outbufs_len)
        return self.phase is not Phase.STREAM

    def handle_read(self) -> None:
        """Take what has arrived."""
        if self.socket is None:
            return
        if self.phase is Phase.LOOK:
            self._look()
        elif self.phase is Phase.SHAKE:
            self._shake()
        elif self.phase is Phase.LINGER:
            if not tls.discard(self.socket):
                self.handle_close()
        else:
            self._take()

    def _look(self) -> None:
        try:
            first = self.socket.recv(1, socket.MSG_PEEK)
        except tls.WAIT:
            return
        except OSError:
            first = b""
        if not first:
            self.handle_close()
        elif first != tls.HANDSHAKE_RECORD:
            if tls.refuse(self.socket):
                self._linger()
            else:
                self.handle_close()
        else:
            try:
                self.socket = self.server.certificate.context.wrap_socket(
                    self.socket, server_side=True, do_handshake_on_connect=False
                )
            except (OSError, ValueError):
                self.handle_close()
                return
            self.phase = Phase.SHAKE
            self._shake()

    def _shake(self) -> None:
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._wants_write = False
        except ssl.SSLWantWriteError:
            self._wants_write = True
        except (OSError, ValueError):
            self.handle_close()
        else:
            self._wants_write = False
            self._since = clock.monotonic()
            self.phase = Phase.OPEN
            self._take()

    def _take(self) -> None:
        """Read, and read on while the TLS layer holds bytes that poll cannot see."""
        while self.socket is not None:
            try:
                with self.outbuf_lock:  # OpenSSL allows one thread at a time
                    data = self.socket.recv(self.adj.recv_bytes)
                    is_more = bool(self.socket.pending())
            except tls.WAIT:
                return
            except (OSError, ValueError):
                data = b""
            if not data:
                self.handle_close()
                return
            if self.phase is Phase.OPEN:
                self.received(data)
            if not is_more:
                return

    def received(self, data: bytes) -> bool:
        """Feed the parser, and keep the time at which the request began."""
        is_taken = bool(super().received(data))
        self._has_served = self._has_served or bool(self.requests)
        if (self.request is not None) != self._is_in_request or self.requests:
            self._since = clock.monotonic()
        self._is_in_request = self.request is not None
        return is_taken

    def send(self, data: bytes, do_close: bool = True) -> int:  # noqa: ARG002 - waitress's name
        """Write what the socket takes now and return how much; called under the buffers' lock."""
        if self.socket is None:
            return 0
        try:
            sent = int(self.socket.send(data))
        except tls.WAIT:
            return 0
        except (OSError, ValueError):
            self.will_close = True
            return 0
        self._bytes_sent += sent
        return sent

    def handle_write(self) -> None:
        """Write what is waiting, and say goodbye where that was the last of it."""
        if self.socket is None:
            return
        if self.phase is Phase.SHAKE:
            self._shake()
            return
        if self.close_when_flushed and not self.will_close and not self.requests:
            self._flush_exception(self._flush_some)
            if not self.total_outbufs_len and self.socket is not None:
                self._linger()
            return
        super().handle_write()

    def _flush_some(self, do_close: bool = True) -> bool:
        with self.outbuf_lock:  # a stream's sender may be appending
            return bool(super()._flush_some(do_close=do_close))

    def hold(self, stream: Stream, *, is_chunked: bool) -> None:
        """Keep the connection open for a stream; its request thread is free from now on."""
        with self.requests_lock:
            for request in self.requests[1:]:
                request.close()
            del self.requests[1:]
            self.request = None
            self.phase = Phase.STREAM
            self._stream = stream
            self._is_chunked = is_chunked
        stream.attach(self)
        if not self.connected:
            stream.end()

    def push(self, data: bytes) -> bool:
        """Queue bytes of a stream; never waits."""
        with self.outbuf_lock:
            if not self.connected or self.total_outbufs_len > _STREAM_BACKLOG:
                return False
            self._queue(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        self.server.pull_trigger()
        return True

    def end(self) -> None:
        """Close the connection of a stream once what is queued has been sent."""
        with self.outbuf_lock:
            if not self.connected:
                return
            if self._is_chunked:
                self._queue(b"0\r\n\r\n")
            self.close_when_flushed = True
        self.server.pull_trigger()

    def abort(self) -> None:
        """Close the connection of a stream at once: the client sees that something is missing."""
        with self.outbuf_lock:
            self.will_close = True
        self.server.pull_trigger()

    @property
    def backlog(self) -> int:
        """How many bytes are waiting for the client."""
        return int(self.total_outbufs_len)

    def _queue(self, data: bytes) -> None:
        self.outbufs[-1].append(data)
        self.total_outbufs_len += len(data)

    def _linger(self) -> None:
        """Say that nothing follows, and let the client read it before the socket is closed.

        Closing while unread bytes are waiting would reset the connection, and a client that is
        still sending a body that we refuse would lose the answer that says why.
        """
        self.phase = Phase.LINGER
        self._since = clock.monotonic()
        self.close_when_flushed = False
        tls.say_goodbye(self.socket)

    def stop(self) -> None:
        """Close now where no request runs, else after the running one's answer."""
        if self.phase is Phase.STREAM and self._stream is not None:
            self._stream.end()
        elif self.phase in (Phase.LOOK, Phase.SHAKE):
            self.handle_close()
        elif self.phase is Phase.OPEN and not self.requests and not self.total_outbufs_len:
            self._linger()

    def handle_close(self) -> None:
        """Drop the connection; a stream that used it learns of it."""
        stream, self._stream = self._stream, None
        super().handle_close()
        if self.request is not None:  # half a request, whose body may be in a file
            self.request.close()
        if stream is not None:
            stream.end()
