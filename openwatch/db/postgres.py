"""Peewee's pooled PostgreSQL database, spoken by pg8000, with PostgreSQL's errors as ours.

Peewee knows psycopg only; `_Driver` is what it asks of a driver. pg8000 raises one class for
everything, so errors are told apart by SQLSTATE, at the connection, below everything that runs.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import select
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pg8000
import pg8000.dbapi
import pg8000.exceptions
from peewee import DatabaseProxy
from peewee import Model as PeeweeModel
from pg8000.converters import make_params
from pg8000.core import Context
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from openwatch import errors
from openwatch.db.queries import Query

Row = dict[str, Any]
T = TypeVar("T")

_IDLE, _IN_TRANSACTION, _IN_ERROR, _UNKNOWN = 0, 2, 3, 4
_STATUS = {b"I": _IDLE, b"T": _IN_TRANSACTION, b"E": _IN_ERROR}
_POOL_WAIT = 10.0  # seconds a thread waits for a connection before it says so
_STALE = 3600  # seconds after which a connection is made anew
_ATTEMPTS = 5
_RETRY_PAUSE = 0.01  # seconds before the second attempt, at most; doubles
_MESSAGE_TIMEOUT = 10.0  # seconds for the rest of a message whose first byte has come
_TIMESTAMPTZ = 1184  # the type's object id
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

    def fileno(self) -> int:
        """Return the socket's descriptor, so that select can wait on the connection."""
        return int(self._usock.fileno())

    def receive(self) -> None:
        """Read what the server sent unasked, without waiting. Raise DatabaseUnavailable at its end."""
        self._whole(self._receive)

    def abandon(self) -> None:
        """Close the socket, whatever state it is in."""
        self._break("it was closed")
        with contextlib.suppress(Exception):
            self._usock.settimeout(1)  # a polite farewell, but no waiting for a dead peer
            self.close()

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


class _Driver:
    """What Peewee asks of a PostgreSQL driver, answered for pg8000."""

    txn_idle, txn_inerror, txn_unknown = _IDLE, _IN_ERROR, _UNKNOWN
    cast_json_case = True

    def __init__(self) -> None:
        self.json_type = self.jsonb_type = _json

    def isolation_level_int(self, level: Any) -> Any:
        return level

    def isolation_level_str(self, level: Any) -> Any:
        return level

    def check_driver(self) -> None:
        """Find pg8000 present: it is imported above."""

    def get_binary_type(self) -> Callable[[Any], bytes]:
        return bytes

    def connect(self, _db: Any, **params: Any) -> Connection:
        connect: Callable[[], Connection] = params["open"]
        return connect()

    def get_server_version(self, connection: Connection) -> int:
        return connection.server_version

    def txn_status(self, connection: Connection) -> int:
        status: bytes | None = connection._transaction_status  # noqa: SLF001 - no public name
        return _STATUS.get(status or b"", _UNKNOWN)

    def rollback(self, connection: Connection) -> None:
        connection.execute_simple("ROLLBACK")

    def is_connection_usable(self, connection: Connection) -> bool:
        return self.txn_status(connection) < _IN_ERROR

    def is_connection_reusable(self, connection: Connection) -> bool:
        status = self.txn_status(connection)
        if status == _UNKNOWN:
            return False
        if status != _IDLE:
            try:
                self.rollback(connection)
            except errors.StorageError:
                return False
        return True

    def is_connection_closed(self, connection: Connection) -> bool:
        """Look at the socket: something to read on an idle connection is its end."""
        if self.txn_status(connection) == _UNKNOWN or connection._sock is None:  # noqa: SLF001
            return True
        try:
            readable, _, _ = select.select([connection._usock], [], [], 0)  # noqa: SLF001
        except (OSError, ValueError):
            return True
        return bool(readable)


def _json(value: Any) -> Any:
    return value


class Database(PooledPostgresqlDatabase):  # type: ignore[misc] # playhouse is untyped
    """A pool of connections, one a thread while a scope is open.

    `with db.scope():` checks a connection out; `with db.atomic():` is a transaction. Everything
    that has a name in a `.sql` file runs through `rows`, `row`, `value` and `run`.
    """

    psycopg2_adapter = psycopg3_adapter = _Driver

    def __init__(self, connect: Callable[[], Connection], *, max_connections: int = 25) -> None:
        """Take the function that opens one connection; nothing is opened yet."""
        super().__init__(
            "openwatch",
            max_connections=max_connections,
            stale_timeout=_STALE,
            timeout=_POOL_WAIT,
            open=connect,
        )

    def _is_closed(self, connection: Connection) -> bool:
        if not self._adapter.is_connection_closed(connection):
            return False
        connection.abandon()  # the pool only forgets it
        return True

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Hold a connection for this thread; inside another scope, use that one's."""
        if not self.is_closed():
            yield
            return
        try:
            self.connect()
        except MaxConnectionsExceeded:
            raise errors.DatabaseUnavailable(
                f"all {self._max_connections} database connections stayed busy for"
                f" {_POOL_WAIT:.0f} s; raise database.max_connections or lower the load"
            ) from None
        try:
            yield
        finally:
            self.close()

    def _execute(self, query: Query | str, parameters: Mapping[str, Any]) -> Any:
        connection: Connection = self.connection()
        if isinstance(query, str):
            return connection.execute_simple(query)
        if not query.parameters:
            return connection.execute_simple(query.sql)
        values = tuple(parameters[name] for name in query.parameters)
        return connection.execute_unnamed(query.sql, vals=values)

    def rows(self, query: Query, **parameters: Any) -> list[Row]:
        """Return every row as a dict."""
        context = self._execute(query, parameters)
        names = [column["name"] for column in context.columns or ()]
        return [dict(zip(names, row, strict=True)) for row in context.rows or ()]

    def row(self, query: Query, **parameters: Any) -> Row | None:
        """Return the first row, None where there is none."""
        found = self.rows(query, **parameters)
        return found[0] if found else None

    def tuples(self, query: Query, **parameters: Any) -> Sequence[Sequence[Any]]:
        """Return every row as a sequence in the order of the select list: the fast way."""
        return self._execute(query, parameters).rows or ()

    def value(self, query: Query, **parameters: Any) -> Any:
        """Return the first column of the first row, None where there is no row."""
        found = self.tuples(query, **parameters)
        return found[0][0] if found else None

    def run(self, query: Query | str, **parameters: Any) -> int:
        """Run a statement and return how many rows it touched."""
        return int(self._execute(query, parameters).row_count)

    def retrying(self, work: Callable[[], T]) -> T:
        """Run a whole transaction; run it again where another got in its way (40001, 40P01).

        `work` opens its own `atomic()`. Raise RetryableConflict after the fifth time.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return work()
            except errors.RetryableConflict:
                if attempt == _ATTEMPTS or self.in_transaction():
                    raise
                time.sleep(random.uniform(0, _RETRY_PAUSE * 2**attempt))  # noqa: S311 - no secret
        raise AssertionError("unreachable")


database_of_models = DatabaseProxy()


class Model(PeeweeModel):
    """A table. The composition root says which database: `database_of_models.initialize(db)`."""

    class Meta:
        """Bound late: the package is imported before there is a database."""

        database = database_of_models
        legacy_table_names = False
