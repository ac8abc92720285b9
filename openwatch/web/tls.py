"""The server's certificate, followed as its files change; the first and last words of TLS.

A broken or mismatched new pair is logged once and the last good pair keeps serving.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import shlex
import socket
import ssl
import stat
from pathlib import Path

import msgspec

from openwatch import clock, errors, ids, log
from openwatch.web import headers, problems

HANDSHAKE_RECORD = b"\x16"  # the first byte a TLS client sends (RFC 8446 section 5.1)
# What a socket that does not block says instead of waiting.
WAIT = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)

_LOOK_EVERY = 5.0  # seconds between two looks at the files
_LOOKS_LIKE_HTTP = re.compile(rb"[A-Z]{1,10}(\Z| )")
_ADVICE = "This port speaks HTTPS: use https:// in the URL."

_logger = logging.getLogger(__name__)
_Seen = tuple[tuple[int, int, int], ...]  # inode, size and modification time of each file


class Certificate:
    """A TLS context that follows its files. Used by one thread: the server's loop."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Load the pair. Raise ConfigError where it cannot be used."""
        self._cert, self._key = cert, key
        self._seen = self._look()
        self._next_look = clock.monotonic() + _LOOK_EVERY
        try:
            self.context = _context(cert, key)
        except OSError as error:  # ssl.SSLError is one
            raise errors.ConfigError(
                f"server.tls_cert {cert} and server.tls_key {key}: {_reason(error)}"
            ) from None

    def expire(self) -> None:
        """Look at the files at the next `refresh`, however recent the last look; for SIGHUP."""
        self._next_look = 0.0

    def refresh(self) -> None:
        """Load the pair again where a file has changed; keep the last good one where it is bad."""
        now = clock.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self.context = _context(self._cert, self._key)
        except OSError as error:
            log.event(
                _logger,
                logging.ERROR,
                "tls.reload_failed",
                f"the new certificate is not used, the last good one stays: {_reason(error)}",
                cert=str(self._cert),
                key=str(self._key),
            )
        else:
            log.event(
                _logger,
                logging.INFO,
                "tls.reloaded",
                "the new certificate is in use",
                cert=str(self._cert),
            )

    def _look(self) -> _Seen:
        found = []
        for file in (self._cert, self._key):
            try:
                at = file.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((at.st_ino, at.st_size, at.st_mtime_ns))
        return tuple(found)


def refuse(client: socket.socket) -> bool:
    """Tell a client that speaks plain HTTP what to do; False where it speaks neither."""
    with contextlib.suppress(OSError):
        if _LOOKS_LIKE_HTTP.match(client.recv(65536)):
            client.send(_advice())
            return True
    return False


def _advice() -> bytes:
    """Return the API's one envelope, as a whole response."""
    correlation_id = ids.correlation_id()
    body = msgspec.json.encode(
        problems.simple(400, "validation.malformed", _ADVICE, correlation_id)
    )
    head = (
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"{headers.CORRELATION}: {correlation_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def say_goodbye(client: socket.socket) -> None:
    """Tell the client that nothing follows; what it still sends is read by `discard`."""
    if isinstance(client, ssl.SSLSocket):
        # It fails where the client is still sending; our own farewell has gone out by then.
        with contextlib.suppress(*WAIT, OSError, ValueError):
            client.unwrap()
    with contextlib.suppress(OSError, ValueError):
        client.shutdown(socket.SHUT_WR)


def discard(client: socket.socket) -> bool:
    """Throw away what a client sent after the farewell; False at its end.

    Read below TLS: after a farewell OpenSSL takes further data for an error, and closing on that
    would reset the connection under a client that has not read our answer yet.
    """
    try:
        return bool(socket.socket.recv(client, 65536))
    except WAIT:
        return True
    except (OSError, ValueError):
        return False


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    for file in (cert, key):  # the ssl module's own error names neither
        file.open("rb").close()
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & 0o007:
        mend = f"every user can reach it (mode {mode:04o}); run: chmod o-rwx {shlex.quote(str(key))}"
        raise PermissionError(errno.EPERM, mend, str(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    # Without a password OpenSSL would ask for one on the terminal, and wait.
    context.load_cert_chain(cert, key, password=lambda: "")
    return context


def _reason(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return f"{error.filename}: {error.strerror}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    if error.reason in {"BAD_DECRYPT", "BAD_PASSWORD_READ"} or "password" in str(error).lower():
        return "the key is protected by a passphrase; store it without one, readable by the service only"
    return f"not a usable PEM certificate and key ({error.reason or 'no PEM block found'})"
