"""Where the trail is forwarded to: a syslog server, or a webhook.

A delivery counts once the other side has read it: a webhook says so, a syslog server by ending the
connection in order. What is in doubt is sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import os
import socket
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from openwatch import clock, errors
from openwatch.audit.forward import Item, Receiver
from openwatch.config.schema import Audit

_TIMEOUT = 10.0  # seconds for connecting, and for each read and write
_FACILITY = 13  # log audit (RFC 5424, 6.2.1)
_PRIORITIES = {"info": 6, "warning": 4, "error": 3, "critical": 2}
_PORTS = {"tls": 6514, "tcp": 601, "udp": 514}
_LONGEST_MSGID = 32
_LONGEST_DATAGRAM = 60_000
_SMALLEST_SECRET = 16


class Syslog:
    """Sends RFC 5424 messages over TLS (RFC 5425), TCP (RFC 6587, counted) or UDP, a JSON object each.

    A batch is a connection, ended in order: its end proves that the server has read it all. UDP
    proves nothing.
    """

    def __init__(self, url: str, ca_file: str = "") -> None:
        """Take `tls://host:port` and the file of its authority, the system's where empty."""
        parts = urlsplit(url)
        self.name = f"syslog {url}"
        self._scheme = parts.scheme
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._context = context(ca_file) if parts.scheme == "tls" else None

    def send(self, items: Sequence[Item]) -> None:
        """Deliver a batch. Raise OSError where it is not certain that all of it was read."""
        if self._scheme == "udp":
            self._scatter(items)
            return
        messages = (message(item) for item in items)
        data = b"".join(b"%d %b" % (len(one), one) for one in messages)
        with socket.create_connection((self._host, self._port), _TIMEOUT) as plain:
            if self._context is None:
                plain.sendall(data)
                plain.shutdown(socket.SHUT_WR)
                _read_to_end(plain)
                return
            with self._context.wrap_socket(plain, server_hostname=self._host) as secure:
                secure.sendall(data)
                _say_goodbye(secure)

    def _scatter(self, items: Sequence[Item]) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(
            self._host, self._port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, protocol) as sender:
            for item in items:
                datagram = message(item)
                if len(datagram) > _LONGEST_DATAGRAM:
                    datagram = message({**item, "detail": {"left_out": len(datagram)}})
                sender.sendto(datagram, address)


class Webhook:
    """Sends batches as JSON by POST; with a secret, signed by HMAC-SHA256.

    `X-OpenWatch-Signature: v1=<hex>` is over `X-OpenWatch-Timestamp`, a full stop and the body.
    """

    def __init__(self, url: str, secret_file: str = "", ca_file: str = "") -> None:
        """Take the https URL. Raise ConfigError where the secret's file cannot be used."""
        parts = urlsplit(url)
        # The rest of the URL may be a secret; its digest tells two of them apart.
        self.name = f"webhook {parts.hostname} {hashlib.sha256(url.encode()).hexdigest()[:12]}"
        self._host = parts.hostname or ""
        self._port = parts.port or 443
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context = context(ca_file)
        self._secret_file = secret_file
        self._secret()

    def send(self, items: Sequence[Item]) -> None:
        """Deliver a batch. Raise OSError where the answer is none of 200 to 299."""
        body = msgspec.json.encode({"items": items})
        at = clock.rfc3339(clock.now())
        headers = {"Content-Type": "application/json", "X-OpenWatch-Timestamp": at}
        secret = self._secret()
        if secret:
            made = hmac.digest(secret, at.encode() + b"." + body, hashlib.sha256).hex()
            headers["X-OpenWatch-Signature"] = f"v1={made}"
        client = http.client.HTTPSConnection(
            self._host, self._port, timeout=_TIMEOUT, context=self._context
        )
        try:
            client.request("POST", self._path, body, headers)
            status = client.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(f"its answer is not HTTP: {type(error).__name__}") from None
        finally:
            client.close()
        if not 200 <= status <= 299:
            raise OSError(f"it answered {status}")

    def _secret(self) -> bytes:
        """Return what the file holds now, so that it can be replaced while the program runs."""
        if not self._secret_file:
            return b""
        try:
            return _private(Path(self._secret_file))
        except OSError as error:
            raise errors.ConfigError(
                f"audit.webhook_secret_file {self._secret_file}: {error.strerror}"
            ) from None


def configured(audit: Audit) -> list[Receiver]:
    """Return the receivers that the configuration names. Raise ConfigError for an unusable file."""
    found: list[Receiver] = []
    if audit.syslog:
        found.append(Syslog(audit.syslog, audit.ca_file))
    if audit.webhook_url:
        found.append(Webhook(audit.webhook_url, audit.webhook_secret_file, audit.ca_file))
    return found


def context(ca_file: str) -> ssl.SSLContext:
    """Return how a receiver's certificate is checked. Raise ConfigError for a file that is no PEM."""
    try:
        made = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise errors.ConfigError(
            f"audit.ca_file {ca_file}: {error.strerror or error}; it must hold certificates in PEM"
        ) from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


def message(item: Item) -> bytes:
    """Return an event or a checkpoint as a syslog message, its JSON as the free text."""
    severity = _PRIORITIES[item.get("severity", "info")]
    at = item.get("occurred_at") or item["at"]
    kind = str(item.get("action") or "audit.checkpoint")[:_LONGEST_MSGID]
    host = socket.gethostname()[:255] or "-"
    header = f"<{_FACILITY * 8 + severity}>1 {at} {host} openwatch {os.getpid()} {kind} - "
    return header.encode("ascii", "replace") + msgspec.json.encode(item)


def _say_goodbye(secure: ssl.SSLSocket) -> None:
    """End TLS in order. Raise OSError where the other side does not, or not in time."""
    with contextlib.suppress(
        ssl.SSLEOFError, ssl.SSLZeroReturnError
    ):  # it hung up, having read
        secure.unwrap()


def _read_to_end(plain: socket.socket) -> None:
    while plain.recv(4096):
        pass


def _private(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o027:
            raise errors.ConfigError(
                f"{path} can be read by others, or written by its group: chmod 0640 {path}"
            )
        found = file.read(4096).strip()
    if len(found) < _SMALLEST_SECRET:
        raise errors.ConfigError(
            f"{path} must hold a secret of {_SMALLEST_SECRET} bytes or more"
        )
    return found
