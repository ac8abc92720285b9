"""The HTTPS server: waitress's loop and threads, our connections, an orderly end."""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import threading
from pathlib import Path
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from openwatch import clock, errors, log
from openwatch.web.channel import Channel
from openwatch.web.requests import MAX_BODY, streaming
from openwatch.web.tls import Certificate

_MAX_HEADERS = 64 * 1024
_BODY_IN_MEMORY = 64 * 1024  # bytes of one body; what is beyond them waits in a file
_TICK = 1  # seconds between two looks at deadlines, certificate and the wish to stop
_CONNECTIONS = 500  # per server; each may have a socket and a file for its body
_OPEN_FILES = 4096  # that many are asked for: 1,024, the usual limit, would be too few
_PAUSE = 1.0  # seconds without accepting after the machine ran out of file descriptors

_logger = logging.getLogger(__name__)


class Listener(TcpWSGIServer):  # type: ignore[misc] # waitress is untyped
    """One listening socket."""

    channel_class = Channel
    certificate: Certificate
    connections = _CONNECTIONS
    _paused_until = 0.0

    def readable(self) -> bool:
        """Keep deadlines, and say whether the loop should watch for a new connection."""
        return bool(super().readable()) and clock.monotonic() >= self._paused_until

    def pull_trigger(self) -> None:
        """Wake the loop. Where it has just ended, nobody is left to wake, and that is fine."""
        with contextlib.suppress(OSError):
            super().pull_trigger()

    def maintenance(self, now: float) -> None:  # noqa: ARG002 - waitress's clock may jump
        """Close what took too long, and follow the certificate's files. Runs in the loop."""
        self.certificate.refresh()
        at = clock.monotonic()
        for channel in list(self.active_channels.values()):
            deadline = channel.deadline(at)
            if deadline is not None and at > deadline:
                channel.handle_close()

    def handle_accept(self) -> None:
        """Take a new connection; whatever goes wrong with it costs only that connection."""
        try:
            accepted = self.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._paused_until = clock.monotonic() + _PAUSE
                log.event(
                    _logger,
                    logging.ERROR,
                    "server.accept_failed",
                    f"no connection can be accepted for {_PAUSE:.0f} s: {error.strerror};"
                    " raise LimitNOFILE of the service",
                )
            return
        if accepted is None:
            return
        connection, address = accepted
        try:
            if len(self.active_channels) >= self.connections and not self._drop_one():
                connection.close()
                return
            self.set_socket_options(connection)
            Channel(self, connection, self.fix_addr(address), self.adj, self._map)
        except OSError:
            connection.close()

    def handle_error(self) -> None:
        """Log, and go on listening: waitress would close the listening socket."""
        _logger.error(
            "an error in the listening socket",
            exc_info=True,  # noqa: LOG014 - the loop calls this inside its handler
            extra={"event": "server.error"},
        )

    def _drop_one(self) -> bool:
        """Make room: close the oldest connection on which no request runs."""
        for channel in list(self.active_channels.values()):  # in the order of their arrival
            if channel.may_be_dropped:
                channel.handle_close()
                return True
        return False


class Server:
    """Serve a WSGI application over HTTPS: `bind`, `run` until `close` is called."""

    def __init__(
        self,
        app: Any,
        listen: str,
        cert: Path | str,
        key: Path | str,
        *,
        threads: int = 8,
        connections: int = _CONNECTIONS,
    ) -> None:
        """Load the certificate. Raise ConfigError where it or the address cannot be used."""
        self._app = streaming(app)
        self._listen = listen
        self.certificate = Certificate(Path(cert), Path(key))
        self._threads = threads
        self._connections = connections
        self._map: dict[int, Any] = {}
        self._listeners: list[Listener] = []
        self._dispatcher = ThreadedTaskDispatcher()
        self._stop_at: float | None = None  # when patience with running requests ends
        self._stopped = threading.Event()
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a full queue is no news

    @property
    def port(self) -> int:
        """The port it listens on, once bound."""
        return int(self._listeners[0].effective_port)

    def bind(self) -> int:
        """Open the listening socket and return its port. Raise ConfigError where it cannot."""
        adjustments = self._adjustments()
        _allow_open_files()
        try:
            for info in adjustments.listen:
                listener = Listener(
                    self._app,
                    self._map,
                    dispatcher=self._dispatcher,
                    adj=adjustments,
                    sockinfo=info,
                )
                listener.certificate = self.certificate
                listener.connections = self._connections
                self._listeners.append(listener)
        except OSError as error:
            wasyncore.close_all(self._map)
            raise errors.ConfigError(
                f"server.listen {self._listen}: {error.strerror}"
                + ("; another program has this port" if error.errno == errno.EADDRINUSE else "")
            ) from None
        self._dispatcher.set_thread_count(self._threads)
        return self.port

    def run(self) -> None:
        """Serve until `close`, then finish what runs; call it in one thread, after `bind`."""
        try:
            while self._stop_at is None:
                self._turn()
            self._finish(self._stop_at)
        finally:
            self._stopped.set()

    def close(self, grace: float = 4.0) -> None:
        """Ask `run` to end: no new connection, `grace` seconds for requests that run.

        May be called from a signal handler or any thread; `wait` says when it has happened.
        """
        self._stop_at = clock.monotonic() + grace
        for listener in self._listeners:
            listener.pull_trigger()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until `run` has ended; False where it has not in time."""
        return self._stopped.wait(timeout)

    def reload(self) -> None:
        """Look at the certificate's files again within a second; for SIGHUP."""
        self.certificate.expire()

    def _turn(self) -> None:
        try:
            wasyncore.loop(timeout=_TICK, use_poll=True, map=self._map, count=1)
        except Exception:
            # Nothing of ours raises here; if something did, the next turn serves the others.
            _logger.exception("an error in the server's loop", extra={"event": "server.error"})

    def _finish(self, stop_at: float) -> None:
        for listener in self._listeners:
            listener.accepting = False
            listener.socket.close()
            listener.del_channel()
        while clock.monotonic() < stop_at and any(
            self._end_idle(one) for one in self._listeners
        ):
            wasyncore.loop(timeout=0.05, use_poll=True, map=self._map, count=1)
        self._dispatcher.shutdown(timeout=max(0.1, stop_at - clock.monotonic()))
        wasyncore.close_all(self._map, ignore_all=True)

    def _end_idle(self, listener: Listener) -> bool:
        """Close connections without a running request; True while there are others."""
        listener.maintenance(0.0)
        for channel in list(listener.active_channels.values()):
            channel.stop()
        return bool(listener.active_channels)

    def _adjustments(self) -> Any:
        try:
            return Adjustments(
                listen=f"*{self._listen}" if self._listen.startswith(":") else self._listen,
                threads=self._threads,
                ident="",
                url_scheme="https",
                max_request_header_size=_MAX_HEADERS,
                max_request_body_size=MAX_BODY + 1,
                inbuf_overflow=_BODY_IN_MEMORY,
                connection_limit=self._connections + 64,  # ours is kept when accepting
                cleanup_interval=_TICK,
                log_socket_errors=False,
                asyncore_use_poll=True,
                clear_untrusted_proxy_headers=False,  # the edge decides whom it believes
            )
        except ValueError as error:
            raise errors.ConfigError(f"server.listen {self._listen!r}: {error}") from None


def _allow_open_files() -> None:
    """Have the process allowed as many open files as it may need, where it may ask for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
