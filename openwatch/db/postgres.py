"""Peewee's pooled PostgreSQL database, spoken by pg8000, with PostgreSQL's errors as ours.

Peewee knows psycopg only; `_Driver` is what it asks of a driver. pg8000 raises one class for
everything, so errors are told apart by SQLSTATE, at the connection, below everything that runs.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pg8000
import pg8000.dbapi
import pg8000.exceptions
from peewee import DatabaseProxy
from peewee import Model as PeeweeModel
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


class Connection(pg8000.dbapi.Connection):  # type: ignore[misc] # pg8000 is untyped
    """A pg8000 connection whose errors are ours."""

    def execute_simple(self, statement: str) -> Any:
        """Run a statement without parameters."""
        try:
            return super().execute_simple(statement)
        except (pg8000.exceptions.Error, OSError) as error:
            raise self._translated(error) from None

    def execute_unnamed(
        self, statement: str, vals: Any = (), oids: Any = (), stream: Any = None
    ) -> Any:
        """Run a statement with parameters."""
        try:
            return super().execute_unnamed(statement, vals=vals, oids=oids, stream=stream)
        except (pg8000.exceptions.Error, OSError) as error:
            raise self._translated(error) from None

    def _translated(self, error: BaseException) -> errors.StorageError:
        ours = translate(error)
        if isinstance(ours, errors.DatabaseUnavailable):
            self._transaction_status = None  # unknown: never goes back to the pool
        return ours

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
        return _STATUS.get(connection._transaction_status, _UNKNOWN)  # noqa: SLF001 - no public name

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
        return bool(self._adapter.is_connection_closed(connection))

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
        raise AssertionError("unreachable")


database_of_models = DatabaseProxy()


class Model(PeeweeModel):  # type: ignore[misc] # peewee's stubs leave Model untyped
    """A table. The composition root says which database: `database_of_models.initialize(db)`."""

    class Meta:
        """Bound late: the package is imported before there is a database."""

        database = database_of_models
        legacy_table_names = False
