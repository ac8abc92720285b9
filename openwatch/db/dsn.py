"""Where the database is and how it is reached, with libpq's meaning.

What libpq would accept and we do not honour is refused by name: a security option that is read
and forgotten is worse than none. Stricter than libpq on purpose: a file that the DSN names and
that does not exist is an error in every sslmode, and nothing is waited for without end unless
`connect_timeout=0` says so.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from openwatch import errors
from openwatch.db.conninfo import words

SOCKETS = "/var/run/postgresql"  # where Debian's and Red Hat's libpq look
_CONNECT_TIMEOUT = 5  # seconds; while one thread waits, others wait for it
_PORT = re.compile(r"[0-9]{1,5}")
_NAME = re.compile(r"[a-z_]{1,40}")
_NUMBER = re.compile(r"-?[0-9]{1,9}")

# The options we honour, with libpq's environment variable for each ("" where it has none).
_HONOURED: Mapping[str, str] = {
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslpassword": "",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "application_name": "PGAPPNAME",
    "fallback_application_name": "",
    "options": "PGOPTIONS",
    "keepalives": "",
    "keepalives_idle": "",
    "keepalives_interval": "",
    "keepalives_count": "",
    "tcp_user_timeout": "",
}
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_ATTRIBUTES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "sslmode": _MODES,
    "target_session_attrs": _ATTRIBUTES,
    "ssl_min_protocol_version": ("TLSv1.2", "TLSv1.3"),
    "keepalives": ("0", "1"),
}
_NUMBERS = (
    "connect_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
# Accepted where they ask for what happens anyway.
_ONLY: Mapping[str, tuple[str, ...]] = {
    "channel_binding": ("prefer",),
    "gssencmode": ("disable", "prefer"),  # there is no GSSAPI here
    "load_balance_hosts": ("disable",),
    "sslnegotiation": ("postgres",),
    "sslcompression": ("0",),
    "sslsni": ("1",),
    "client_encoding": ("UTF8", "utf8", "UTF-8", "utf-8"),
}
_ENVIRONMENT_ONLY: Mapping[str, str] = {
    "PGCHANNELBINDING": "channel_binding",
    "PGGSSENCMODE": "gssencmode",
    "PGREQUIREPEER": "requirepeer",
    "PGREQUIREAUTH": "require_auth",
    "PGSERVICE": "service",
    "PGHOSTADDR": "hostaddr",
}
_SECRETS = ("password", "sslpassword")
_OURS = ("timezone", "datestyle", "statement_timeout", "default_transaction_isolation")


class Address(msgspec.Struct, frozen=True):
    """One place to try: a name, an address, or the directory of a Unix socket."""

    host: str
    port: int

    @property
    def socket(self) -> str:
        """The path of the Unix socket, empty where the host is reached by TCP."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else ""

    def __str__(self) -> str:
        """Return it as it is written in messages."""
        return self.socket or f"{self.host}:{self.port}"


class Dsn(msgspec.Struct, frozen=True):
    """A database's address. Its repr hides the secrets; `uri()` does not."""

    addresses: tuple[Address, ...]
    database: str
    user: str
    home: str  # where libpq's own files are, in .postgresql and .pgpass
    given: Mapping[str, str]  # what was said, by libpq's names

    def option(self, name: str, default: str = "") -> str:
        """Return an option's value as it was given."""
        return self.given.get(name) or default

    @property
    def host(self) -> str:
        """The first host."""
        return self.addresses[0].host

    @property
    def port(self) -> int:
        """The first host's port."""
        return self.addresses[0].port

    @property
    def password(self) -> str:
        """The password that was given; a password file is read when it connects."""
        return self.option("password")

    @property
    def sslmode(self) -> str:
        """One of libpq's six modes."""
        system = self.option("sslrootcert") == "system"
        return self.option("sslmode", "verify-full" if system else "prefer")

    @property
    def connect_timeout(self) -> float | None:
        """Seconds for one address, None for no limit."""
        seconds = int(self.option("connect_timeout", str(_CONNECT_TIMEOUT)))
        return float(seconds) if seconds > 0 else None

    def uri(self) -> str:
        """Return libpq's URI of it, with its secrets."""
        return self._rendered(self.given)

    def redacted(self) -> str:
        """Return the URI with `***` for each secret."""
        return self._rendered({k: "***" if k in _SECRETS else v for k, v in self.given.items()})

    def __repr__(self) -> str:
        """Show where, never the secrets."""
        return f"Dsn({self.redacted()!r})"

    def _rendered(self, given: Mapping[str, str]) -> str:
        def written(text: str) -> str:
            return text if text == "***" else quote(text, safe="")

        password = f":{written(given['password'])}" if given.get("password") else ""
        places = ",".join(
            f"{f'[{a.host}]' if ':' in a.host else quote(a.host, safe='')}:{a.port}"
            for a in self.addresses
        )
        rest = "&".join(
            f"{name}={written(value)}"
            for name, value in given.items()
            if name not in ("host", "port", "dbname", "user", "password")
        )
        where = (
            f"{quote(self.user, safe='')}{password}@{places}/{quote(self.database, safe='')}"
        )
        return f"postgresql://{where}{'?' if rest else ''}{rest}"


def parse(text: str, env: Mapping[str, str] | None = None) -> Dsn:
    """Read a DSN in either of libpq's forms, and libpq's environment variables behind it.

    Raise ConfigError naming the option, and never showing the text: it may hold a password.
    """
    environment = os.environ if env is None else env
    given = words(text)
    for name, variable in _HONOURED.items():
        if variable and environment.get(variable):
            given.setdefault(name, environment[variable])
    for variable, name in _ENVIRONMENT_ONLY.items():
        if environment.get(variable):
            given.setdefault(name, environment[variable])
    for name, value in given.items():
        _check(name, value)
    given = {name: value for name, value in given.items() if value and name in _HONOURED}
    _check_together(given)
    user = given.get("user") or _account().pw_name
    return Dsn(
        addresses=_addresses(given.get("host", ""), given.get("port", "")),
        database=given.get("dbname") or user,
        user=user,
        home=environment.get("HOME") or _account().pw_dir,
        given=given,
    )


def _check(name: str, value: str) -> None:
    if "\0" in value:
        raise _refused(f"{name} holds a NUL byte")
    if name in _ONLY:
        if value not in _ONLY[name]:
            raise _refused(f"{name}={value} is not supported, only {' or '.join(_ONLY[name])}")
    elif name not in _HONOURED:
        shown = name if _NAME.fullmatch(name) else "of this name"
        raise _refused(f"the option {shown} is not supported; remove it")
    elif name in _CHOICES and value not in _CHOICES[name]:
        raise _refused(f"{name} must be one of {', '.join(_CHOICES[name])}, not {value!r}")
    elif name in _NUMBERS and value and not _NUMBER.fullmatch(value):
        raise _refused(f"{name} must be a whole number, not {value!r}")


def _check_together(given: Mapping[str, str]) -> None:
    if (
        given.get("sslrootcert") == "system"
        and given.get("sslmode", "verify-full") != "verify-full"
    ):
        raise _refused(
            "sslrootcert=system needs sslmode=verify-full: anyone can get such a certificate"
        )
    for setting in _OURS:
        if re.search(rf"(?<![\w.]){setting}\s*=", given.get("options", ""), re.IGNORECASE):
            raise _refused(f"options must not set {setting}: the program sets it itself")


def _addresses(hosts: str, ports: str) -> tuple[Address, ...]:
    names = hosts.split(",")
    numbers = ports.split(",")
    if len(numbers) == 1:
        numbers *= len(names)
    if len(numbers) != len(names):
        raise _refused(f"{len(numbers)} ports are given for {len(names)} hosts")
    found = []
    for name, number in zip(names, numbers, strict=True):
        if name.startswith("@"):
            raise _refused("a socket in the abstract namespace is not supported")
        if number and not (_PORT.fullmatch(number) and 0 < int(number) < 65536):
            # Not shown: a '/' that a password holds unescaped makes its beginning look like a port.
            raise _refused(
                "port must be a number from 1 to 65535 (a '/' or '@' in a password is written"
                " %2F or %40)"
            )
        found.append(Address(name or SOCKETS, int(number or 5432)))
    return tuple(found)


def _account() -> pwd.struct_passwd:
    return pwd.getpwuid(os.geteuid())


def _refused(why: str) -> errors.ConfigError:
    return errors.ConfigError(f"the database's DSN cannot be used: {why}")
