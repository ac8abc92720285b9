"""A pg8000 connection that does what pg8000 leaves to chance.

pg8000 raises one class for everything, so errors are told apart by SQLSTATE here, below everything
that runs. A statement takes one round trip, and one that was cut off half way ends the connection.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import select
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pg8000
import pg8000.dbapi
import pg8000.exceptions
from pg8000.converters import make_params
from pg8000.core import Context

from openwatch import errors

T = TypeVar("T")

_MESSAGE_TIMEOUT = 10.0  # seconds for the rest of a message whose first byte has come
_TIMESTAMPTZ = 1184  # the type's object id
_PASSWORD_REQUESTS = tuple(struct.pack("!i", code) for code in (3, 5, 10))  # text, MD5, SASL
_FAILED_TRANSACTION = "in failed transaction block"  # pg8000's words for COMMIT after an error

# What a SQLSTATE means for us; the longest prefix wins. PostgreSQL documentation, Appendix A.
_BY_SQLSTATE: Mapping[str, type[errors.StorageError]] = {
    "08": errors.DatabaseUnavailable,
    "23": errors.IntegrityViolation,
    "28": errors.DatabaseUnavailable,
    "3D000": errors.DatabaseUnavailable,
    "40001": errors.RetryableConflict,
    "40P01": errors.RetryableConflict,
    "53300": errors.DatabaseUnavailable,
    "55P03": errors.QueryTimeout,
    "57014": errors.QueryTimeout,
    "57P": errors.DatabaseUnavailable,
}


def translate(error: BaseException) -> errors.StorageError:
    """Return our error for one that pg8000 or its socket raised."""
    if isinstance(error, (OSError, pg8000.exceptions.InterfaceError)):
        return errors.DatabaseUnavailable(f"the connection to PostgreSQL failed: {error}")
    fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    state = str(fields.get("C", ""))
    constraint, table = str(fields.get("n", "")), str(fields.get("t", ""))
    text = str(fields.get("M", error))
    if state == "23514" and not constraint:
        return errors.MissingPartition(text, sqlstate=state, table=table)
    for length in (5, 3, 2):
        kind = _BY_SQLSTATE.get(state[:length])
        if kind is not None:
            return kind(text, sqlstate=state, constraint=constraint, table=table)
    return errors.StorageError(f"{text} ({state})", sqlstate=state, table=table)


def _instant(text: str) -> dt.datetime | str:
    """Read a timestamptz; `infinity` and what lies outside Python's years stay text."""
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return text


def _statement(statement: str, values: Sequence[str | None], oids: Sequence[int]) -> bytes:
    """Return Parse, Bind, Describe, Execute and Sync of an unnamed statement, all in text."""
    parse = b"\0" + statement.encode() + b"\0" + struct.pack("!H", len(oids))
    parse += b"".join(struct.pack("!i", max(oid, 0)) for oid in oids)
    bind = bytearray(b"\0\0" + struct.pack("!HH", 0, len(values)))
    for value in values:
        data = None if value is None else value.encode()
        bind += struct.pack("!i", -1) if data is None else struct.pack("!i", len(data)) + data
    bind += struct.pack("!H", 0)
    whole = bytearray()
    for code, body in (
        (b"P", parse),
        (b"B", bind),
        (b"D", b"P\0"),
        (b"E", b"\0\0\0\0\0"),
        (b"S", b""),
    ):
        whole += code + struct.pack("!i", len(body) + 4) + body
    return bytes(whole)


class Connection(pg8000.dbapi.Connection):  # type: ignore[misc] # pg8000 is untyped
    """A pg8000 connection whose errors are ours, and whose statements take one round trip.

    Whatever interrupts a statement half way (a lost socket, a value that cannot be read, Ctrl-C)
    leaves unread replies behind: such a connection refuses everything and never sees the pool.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what pg8000 takes."""
        self._broken = ""
        super().__init__(*args, **options)
        self.notifications: deque[tuple[int, str, str]] = (
            deque()
        )  # pg8000's own forgets the oldest after a hundred
        self.register_in_adapter(_TIMESTAMPTZ, _instant)

    def execute_simple(self, statement: str) -> Any:
        """Run a statement without parameters."""
        return self._whole(lambda: super(Connection, self).execute_simple(statement))

    def execute_unnamed(
        self, statement: str, vals: Any = (), oids: Any = (), stream: Any = None
    ) -> Any:
        """Run a statement with parameters: parse, bind, describe, execute and sync at once."""
        if stream is not None:
            return self._whole(
                lambda: super(Connection, self).execute_unnamed(statement, vals, oids, stream)
            )
        # Everything is encoded before anything is sent: a value that cannot be harms nothing.
        try:
            message = _statement(statement, make_params(self.py_types, vals), oids)
        except UnicodeEncodeError as error:
            raise errors.StorageError(f"a value is not Unicode text: {error.reason}") from None
        return self._whole(lambda: self._exchange(statement, message))

    def settimeout(self, seconds: float | None) -> None:
        """Bound how long a read or a write may take; a connection that exceeds it is broken."""
        self._usock.settimeout(seconds)

    def fileno(self) -> int:
        """Return the socket's descriptor, so that select can wait on the connection."""
        return int(self._usock.fileno())

    def receive(self) -> None:
        """Read what the server sent unasked, without waiting. Raise DatabaseUnavailable at its end."""
        self._whole(self._receive)

    def interrupt(self) -> None:
        """End what another thread waits for here: to it the server has closed the connection."""
        with contextlib.suppress(OSError, AttributeError):  # it may be closed already
            # An SSLSocket's own method would take the TLS layer away from under the reader.
            socket.socket.shutdown(self._usock, socket.SHUT_RDWR)

    def abandon(self) -> None:
        """Close the socket, whatever state it is in."""
        self._break("it was closed")
        with contextlib.suppress(Exception):
            self._usock.settimeout(1)  # a polite farewell, but no waiting for a dead peer
        self.close()

    def close(self) -> None:
        """Close the socket; saying farewell to a dead peer is no error."""
        with contextlib.suppress(Exception):
            super().close()

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Any) -> None:  # noqa: N802
        """Answer a request for a password; pg8000 stumbles where there is none."""
        if data[:4] in _PASSWORD_REQUESTS and not self.password:
            raise pg8000.exceptions.InterfaceError(
                "the server asks for a password and none is given"
            )
        super().handle_AUTHENTICATION_REQUEST(data, context)

    @property
    def backend_key(self) -> int | None:
        """The process id that the server named at the start; a pooler invents one."""
        data: bytes | None = self._backend_key_data
        return None if data is None else int.from_bytes(data[:4], "big")

    def handle_NOTIFICATION_RESPONSE(self, data: bytes, _context: Any) -> None:  # noqa: N802
        """Keep a notification; pg8000's own knows ASCII only."""
        pid = int.from_bytes(data[:4], "big")
        channel, payload, _ = data[4:].split(b"\0", 2)
        self.notifications.append((pid, channel.decode(), payload.decode()))

    def _exchange(self, statement: str, message: bytes) -> Any:
        context = Context(statement)
        self._usock.sendall(message)
        self.handle_messages(context)
        return context

    def _receive(self) -> None:
        while self._has_message():
            self._usock.settimeout(_MESSAGE_TIMEOUT)
            try:
                code, length = self._sock.read(1), int.from_bytes(self._sock.read(4), "big")
                context = Context(None)
                self.message_types[code](self._sock.read(length - 4), context)
            finally:
                self._usock.settimeout(None)
            if context.error is not None:
                raise context.error

    def _has_message(self) -> bool:
        """Look without waiting: a notification may be in the reader's buffer, unseen by select."""
        self._usock.settimeout(0)
        try:
            if self._sock.peek(1):
                return True
            # An empty peek is the end of a TLS stream; of a plain one it can also be "not yet".
            if isinstance(self._usock, ssl.SSLSocket) or not self._usock.recv(
                1, socket.MSG_PEEK
            ):
                raise pg8000.exceptions.InterfaceError("the server closed the connection")
            return True
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        finally:
            self._usock.settimeout(None)

    def _whole(self, work: Callable[[], T]) -> T:
        if self._broken:
            raise errors.DatabaseUnavailable(
                f"this connection to PostgreSQL cannot be used any more: {self._broken}"
            )
        try:
            return work()
        except (
            pg8000.exceptions.DatabaseError
        ) as error:  # the server's own words, read to the end
            ours = translate(error)
            if isinstance(ours, errors.DatabaseUnavailable):
                self._break(str(ours))
            raise ours from None
        except (pg8000.exceptions.InterfaceError, OSError) as error:
            if str(error) == _FAILED_TRANSACTION:
                raise errors.StorageError(
                    "a statement of this transaction had failed, so PostgreSQL rolled all of it back",
                    sqlstate="25P02",
                ) from None
            ours = translate(error)
            self._break(str(ours))
            raise ours from None
        except BaseException:
            self._break("a statement was interrupted")
            raise

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        self._transaction_status = b""  # unknown: never goes back to the pool

    @property
    def server_version(self) -> int:
        """The server's version as PostgreSQL counts it: 150018 is 15.18."""
        text = dict(self.parameter_statuses).get("server_version", "0")
        major, _, minor = str(text).split()[0].partition(".")
        digits = "".join(c for c in minor if c.isdigit())
        return int("".join(c for c in major if c.isdigit()) or 0) * 10000 + int(digits or 0)

    @property
    def status(self) -> bytes:
        """`I` idle, `T` in a transaction, `E` in a failed one, empty where nothing is known."""
        return self._transaction_status or b""

    @property
    def is_closed(self) -> bool:
        """True where the idle connection has ended: there is something to read on its socket."""
        if not self.status or self._usock is None:
            return True
        try:
            return bool(select.select([self._usock], [], [], 0)[0])
        except (OSError, ValueError):
            return True
