"""Metrics without TLS or login, on an address of their own: for a collector on the same machine."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from openwatch import errors
from openwatch.web import exposition

_CONNECTIONS = 16
_SILENCE = 30  # seconds after which a connection is closed
_TICK = 1.0

_logger = logging.getLogger(__name__)


class _Listener(TcpWSGIServer):  # type: ignore[misc] # waitress is untyped
    """A listening socket on which nobody's silence keeps others out."""

    def handle_accept(self) -> None:
        """Take a connection; where there are many, the oldest on which no request runs makes room."""
        channels = list(self.active_channels.values())
        if len(channels) >= _CONNECTIONS:
            for channel in channels:
                if not channel.requests:
                    channel.handle_close()
                    break
        super().handle_accept()


class MetricsServer:
    """Serves `GET /metrics`, and nothing else, for the length of a block; nowhere where `listen` is empty."""

    def __init__(self, listen: str, text: Callable[[], bytes]) -> None:
        """Take what is served. Raise ConfigError where the address cannot be used."""
        self._text = text
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher()
        self._listeners: list[Any] = []
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        if listen:
            self._bind(listen)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listeners[0].effective_port)

    def __enter__(self) -> Self:
        """Start."""
        if self._listeners:
            self._dispatcher.set_thread_count(1)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; a scrape that runs may finish."""
        if self._listeners:
            self._is_stopping = True
            self._listeners[0].pull_trigger()
            self._thread.join(5)

    def _bind(self, listen: str) -> None:
        try:
            adjustments = Adjustments(
                listen=f"*{listen}" if listen.startswith(":") else listen,
                threads=1,
                ident="",
                connection_limit=_CONNECTIONS * 2,
                channel_timeout=_SILENCE,
                cleanup_interval=int(_TICK),
                max_request_header_size=8192,
                max_request_body_size=1,
                log_socket_errors=False,
                asyncore_use_poll=True,
            )
            for info in adjustments.listen:
                self._listeners.append(
                    _Listener(
                        self._answer,
                        self._map,
                        dispatcher=self._dispatcher,
                        adj=adjustments,
                        sockinfo=info,
                    )
                )
        except (OSError, ValueError) as error:
            wasyncore.close_all(self._map)
            why = error.strerror if isinstance(error, OSError) else str(error)
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            raise errors.ConfigError(
                f"server.metrics_listen {listen}: {why}"
                + ("; another program has this port" if taken else "")
            ) from None

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                wasyncore.loop(timeout=_TICK, use_poll=True, map=self._map, count=1)
            except Exception:
                _logger.exception(
                    "an error in the metrics' loop", extra={"event": "server.error"}
                )
        self._dispatcher.shutdown(timeout=2)
        wasyncore.close_all(self._map, ignore_all=True)

    def _answer(
        self, environ: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], Any]
    ) -> Iterable[bytes]:
        status, kind, body = "200 OK", exposition.CONTENT_TYPE, b""
        if environ["PATH_INFO"] != "/metrics":
            status, kind, body = "404 Not Found", "text/plain", b"Metrics are at /metrics.\n"
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, kind = "405 Method Not Allowed", "text/plain"
        else:
            body = self._text()
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start(status, headers)
        return [body]
