"""Opening a connection as libpq does, and making sure that a session of our own is behind it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator

import pg8000.exceptions

from openwatch import errors
from openwatch.db import pooler, secure
from openwatch.db.connection import Connection, translate
from openwatch.db.dsn import Address, Dsn
from openwatch.db.postgres import Database
from openwatch.db.queries import load

OLDEST_SERVER = 15

# A server that is cut off is given up after 30 s, waiting for an answer as well as sending: in time
# for a worker to say so before its lease of 60 s ends. The kernel would wait two hours, or 15 min.
_KEEPALIVES = (
    ("keepalives_idle", socket.TCP_KEEPIDLE, "15"),
    ("keepalives_interval", socket.TCP_KEEPINTVL, "5"),
    ("keepalives_count", socket.TCP_KEEPCNT, "3"),
)
_UNANSWERED = "30000"  # milliseconds
_QUERIES = load("openwatch.db", "connect.sql")
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_STARTING_UP = "57P03"
_FIXES = {
    "28P01": "check the password in the DSN",
    "28000": "pg_hba.conf on the server must allow this user, database and kind of connection",
    "3D000": "create the database, or name the right one in the DSN",
    "53300": "raise max_connections on the server, or lower database.max_connections here",
    "08P01": "a connection pooler in between must be in session mode",
}

Connector = Callable[[], Connection]


class _Refused(Exception):
    """Somebody answered, and said no: another kind of connection may be tried, no other host."""

    def __init__(self, why: errors.StorageError) -> None:
        super().__init__(str(why))
        self.why = why


class _NextHost(Exception):
    """This address is not the one; the next may be."""


def connector(
    dsn: Dsn, *, application: str = "openwatch", statement_timeout: str = "30s"
) -> Connector:
    """Return the function that opens one connection to the database of a DSN.

    It raises DatabaseUnavailable, UnsupportedServer, or ConfigError for a file the DSN names.
    """

    def connect() -> Connection:
        connection = _first(dsn, application)
        try:
            _prepare(connection, statement_timeout, lambda: _first(dsn, application))
        except BaseException:
            connection.abandon()
            raise
        return connection

    return connect


def open_database(
    dsn: Dsn, *, max_connections: int = 25, statement_timeout: str = "30s"
) -> Database:
    """Return a pool for the database of a DSN; nothing is opened yet."""
    return Database(
        connector(dsn, statement_timeout=statement_timeout), max_connections=max_connections
    )


# -- which host ----------------------------------------------------------------------------------


def _first(dsn: Dsn, application: str) -> Connection:
    """Open the first address that answers and is of the wanted kind; a refusal ends the search."""
    failures: list[str] = []
    attributes = dsn.option("target_session_attrs", "any")
    for wanted in ("standby", "any") if attributes == "prefer-standby" else (attributes,):
        for address in dsn.addresses:
            try:
                connection = _open(dsn, address, application)
            except _NextHost as why:
                failures.append(f"{address}: {why}")
                continue
            except _Refused as refused:
                raise _unavailable(dsn, f"{address}: {refused.why}", refused.why) from None
            if _is_wanted(connection, wanted):
                return connection
            connection.abandon()
            failures.append(
                f"{address}: it is not what target_session_attrs={attributes} asks for"
            )
    raise _unavailable(dsn, "; ".join(dict.fromkeys(failures)), None)


def _unavailable(
    dsn: Dsn, why: str, cause: errors.StorageError | None
) -> errors.DatabaseUnavailable:
    state = cause.sqlstate if cause is not None else ""
    fix = _FIXES.get(state, "check that PostgreSQL runs there and what the DSN says")
    return errors.DatabaseUnavailable(
        f"cannot connect to database {dsn.database} as {dsn.user}: {why}; {fix}", sqlstate=state
    )


def _is_wanted(connection: Connection, wanted: str) -> bool:
    if wanted == "any":
        return True
    is_standby, is_read_only = connection.execute_simple(_QUERIES["kind"].sql).rows[0]
    takes_writes = not (is_standby or is_read_only)
    kinds = {
        "read-write": takes_writes,
        "read-only": not takes_writes,
        "primary": not is_standby,
        "standby": bool(is_standby),
    }
    return kinds[wanted]


# -- one address ---------------------------------------------------------------------------------


def _open(dsn: Dsn, address: Address, application: str) -> Connection:
    """Try the kinds of connection that sslmode allows, in libpq's order."""
    if address.socket or dsn.sslmode == "disable":
        kinds = [False]
    elif dsn.sslmode == "allow":
        kinds = [False, True]
    elif dsn.sslmode == "prefer":
        kinds = [True, False]
    else:
        kinds = [True]
    said: list[errors.StorageError] = []
    for is_encrypted in kinds:
        try:
            return _handshake(dsn, address, application, is_encrypted=is_encrypted)
        except _Refused as refused:
            if refused.why.sqlstate == _STARTING_UP:
                raise _NextHost(str(refused.why)) from None
            said.append(refused.why)
            if refused.why.detail.get("was_plain"):
                break  # the server had no TLS to offer: plain has been tried
    first = said[0]
    if len(said) == 2 and str(said[1]) != str(first):
        both = f"{first}; {'without' if kinds[0] else 'with'} TLS: {said[1]}"
        raise _Refused(errors.DatabaseUnavailable(both, sqlstate=said[1].sqlstate))
    raise _Refused(first)


def _handshake(
    dsn: Dsn, address: Address, application: str, *, is_encrypted: bool
) -> Connection:
    secret = secure.password(dsn, address)
    plain = _socket(dsn, address)
    try:
        channel = _encrypted(plain, dsn, address) if is_encrypted else plain
        with _refusals(is_plain=is_encrypted and channel is plain):
            connection = Connection(
                dsn.user,
                sock=channel,
                ssl_context=False,
                database=dsn.database,
                password=secret,
                application_name=dsn.option(
                    "application_name", dsn.option("fallback_application_name", application)
                ),
                startup_params={"options": o} if (o := dsn.option("options")) else None,
            )
    except BaseException:
        plain.close()
        raise
    channel.settimeout(None)
    return connection


@contextlib.contextmanager
def _refusals(*, is_plain: bool) -> Iterator[None]:
    """Tell a server that says no from one that went away."""
    try:
        yield
    except pg8000.exceptions.DatabaseError as error:
        why = translate(error)
    except (pg8000.exceptions.InterfaceError, OSError) as error:
        if isinstance(error.__cause__, OSError) or str(error) == "network error":
            raise _NextHost(
                "the server closed the connection, or did not answer in time"
            ) from None
        why = errors.DatabaseUnavailable(str(error))
    except Exception as error:  # noqa: BLE001 - pg8000 and its SCRAM raise anything on nonsense
        why = errors.DatabaseUnavailable(
            f"the exchange failed ({type(error).__name__}: {error}); is that PostgreSQL?"
        )
    else:
        return
    why.detail["was_plain"] = is_plain
    raise _Refused(why) from None


def _socket(dsn: Dsn, address: Address) -> socket.socket:
    try:
        if address.socket:
            return _unix_socket(address.socket, dsn.connect_timeout)
        made = socket.create_connection((address.host, address.port), dsn.connect_timeout)
    except OSError as error:
        raise _NextHost(error.strerror or str(error)) from None
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if dsn.option("keepalives", "1") == "1":
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, number, default in _KEEPALIVES:
            if (value := int(dsn.option(name, default))) > 0:
                made.setsockopt(socket.IPPROTO_TCP, number, value)
    if (milliseconds := int(dsn.option("tcp_user_timeout", _UNANSWERED))) > 0:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return made


def _unix_socket(path: str, timeout: float | None) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def _encrypted(plain: socket.socket, dsn: Dsn, address: Address) -> socket.socket:
    """Ask for TLS; return the plain socket where the server has none and sslmode is prefer."""
    try:
        plain.sendall(_SSL_REQUEST)
        answer = plain.recv(1)  # no more than the answer: what follows belongs to TLS
    except OSError as error:
        raise _NextHost(error.strerror or str(error)) from None
    if answer == b"S":
        try:
            return secure.context(dsn).wrap_socket(plain, server_hostname=address.host)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise _Refused(
                errors.DatabaseUnavailable(f"TLS failed: {_reason(error)}")
            ) from None
    if answer == b"":
        raise _NextHost("the server closed the connection")
    if answer == b"N" and dsn.sslmode == "prefer":
        return plain
    raise _Refused(
        errors.DatabaseUnavailable(
            f"the server offers no TLS and sslmode={dsn.sslmode} asks for it"
            if answer == b"N"
            else "it does not speak PostgreSQL's protocol"
        )
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted: {error.verify_message}"
    return str(error)


# -- the session ---------------------------------------------------------------------------------


def _prepare(connection: Connection, statement_timeout: str, another: Connector) -> None:
    """Refuse what we cannot work with, and set what the program relies on."""
    major = connection.server_version // 10000
    if major < OLDEST_SERVER:
        raise errors.UnsupportedServer(
            f"PostgreSQL {major} is too old: {OLDEST_SERVER} or newer is needed; nothing was changed"
        )
    query = _QUERIES["session"]
    process = connection.execute_unnamed(query.sql, vals=(statement_timeout,)).rows[0][0]
    if process != connection.backend_key:
        pooler.require_own_session(connection, another)
