"""Peewee's pooled PostgreSQL database over our connection.

Peewee knows psycopg only; `_Driver` is what it asks of a driver.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from peewee import DatabaseProxy
from peewee import Model as PeeweeModel
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from openwatch import errors
from openwatch.db.connection import Connection
from openwatch.db.pulse import Pulse
from openwatch.db.queries import Query

Row = dict[str, Any]
T = TypeVar("T")

_IDLE, _IN_TRANSACTION, _IN_ERROR, _UNKNOWN = 0, 2, 3, 4
_STATUS = {b"I": _IDLE, b"T": _IN_TRANSACTION, b"E": _IN_ERROR}
_POOL_WAIT = 10.0  # seconds a thread waits for a connection before it says so
_STALE = 3600  # seconds after which a connection is made anew
_ATTEMPTS = 5
_RETRY_PAUSE = 0.01  # seconds before the second attempt, at most; doubles


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
        """Find pg8000 present: the connection imports it."""

    def get_binary_type(self) -> Callable[[Any], bytes]:
        return bytes

    def connect(self, _db: Any, **params: Any) -> Connection:
        connect: Callable[[], Connection] = params["open"]
        return connect()

    def get_server_version(self, connection: Connection) -> int:
        return connection.server_version

    def txn_status(self, connection: Connection) -> int:
        return _STATUS.get(connection.status, _UNKNOWN)

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
        return connection.is_closed


def _json(value: Any) -> Any:
    return value


class Load(NamedTuple):
    """A pool's connections: in use, open without use, and how many there may be."""

    used: int
    idle: int
    most: int


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
        self._is_interrupted = False
        self.pulse = Pulse(self)

    def close_all(self) -> None:
        """Close every connection."""
        self.pulse.close()
        super().close_all()

    def separate(self) -> Connection:
        """Open a connection outside the pool; the caller closes it."""
        connect: Callable[[], Connection] = self.connect_params["open"]
        return connect()

    def load(self) -> Load:
        """Return how much of the pool is in use."""
        return Load(len(self._in_use), len(self._connections), self._max_connections)

    def interrupt(self) -> None:
        """End what threads wait for on the pool's connections, and open no other until `resume`."""
        self._is_interrupted = True
        for held in list(self._in_use.values()):
            held.connection.interrupt()

    def resume(self) -> None:
        """Open connections again."""
        self._is_interrupted = False

    def _connect(self) -> Connection:
        if self._is_interrupted:
            raise errors.DatabaseUnavailable("PostgreSQL does not answer")
        connection: Connection = super()._connect()
        return connection

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
