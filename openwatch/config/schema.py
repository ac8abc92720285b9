"""Every option the program has: the Structs are the table, and the table drives everything else.

A field's annotation carries what TOML and the environment cannot: what is expected, and the
sentence the documentation prints. Its name in the environment follows from its place:
`server.listen` is OPENWATCH_SERVER_LISTEN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from openwatch.config.kinds import (
    About,
    are_networks,
    are_paths,
    host_port,
    is_dsn,
    is_duration,
    is_https,
    is_syslog,
    number,
    path,
)

DEFAULT_FILE = "/etc/openwatch/openwatch.toml"
PREFIX = "OPENWATCH_"


class Server(msgspec.Struct, frozen=True):
    """The HTTPS side, and how much work this machine takes on."""

    listen: Annotated[
        str, host_port("Where the API and the web pages are served over HTTPS.")
    ] = "0.0.0.0:8443"
    tls_cert: Annotated[
        str, path("The certificate (PEM, with its chain); read again when it changes.")
    ] = "/etc/openwatch/tls/cert.pem"
    tls_key: Annotated[str, path("The private key of the certificate (PEM).")] = (
        "/etc/openwatch/tls/key.pem"
    )
    threads: Annotated[int, number("How many requests are answered at once.", 1, 256)] = 8
    workers: Annotated[
        int,
        number(
            "How many worker processes `serve` starts; 0 where workers run on other machines.",
            0,
            64,
        ),
    ] = 1
    scan_concurrency: Annotated[
        int, number("How many hosts one worker process scans at once.", 1, 256)
    ] = 4
    trusted_proxies: Annotated[
        tuple[str, ...],
        About(
            "Proxies whose X-Forwarded-For is believed; from anyone else it is ignored.",
            "a list of addresses or networks, as in 10.0.0.0/8",
            are_networks,
        ),
    ] = ()
    requests_per_principal: Annotated[
        int,
        number(
            "How many requests one signed-in user or API token may send a minute; 0 for any number.",
            0,
            1_000_000,
        ),
    ] = 1200
    requests_per_address: Annotated[
        int,
        number(
            "How many requests one address may send a minute; 0 for any number.", 0, 1_000_000
        ),
    ] = 2400
    metrics_listen: Annotated[
        str,
        host_port(
            "Where metrics are served to anybody, over plain HTTP at /metrics: an address that only the"
            " collector reaches. With TLS and the permission system:read they are at"
            " server.listen, too.",
            empty=True,
        ),
    ] = ""


class Worker(msgspec.Struct, frozen=True):
    """How workers look for work."""

    poll_interval: Annotated[
        float,
        number(
            "Seconds between two looks at the queue, where no wake-up from the database came first.",
            0.1,
            5,
        ),
    ] = 1.0
    lease_seconds: Annotated[
        float,
        number(
            "How long a worker keeps its jobs that is not heard of, in seconds; then another one takes"
            " them. Longer than a database that is cut off is waited for, which is 30.",
            10,
            3600,
        ),
    ] = 60.0


class Database(msgspec.Struct, frozen=True):
    """Where everything is kept."""

    dsn: Annotated[
        str,
        About(
            "The PostgreSQL database, as a URI or as keywords, with libpq's meaning.",
            "a postgres:// or postgresql:// URI, or key=value words such as host=db dbname=openwatch",
            is_dsn,
            secret=True,
        ),
    ] = "postgres://openwatch@localhost/openwatch?sslmode=disable"
    max_connections: Annotated[
        int, number("How many connections one process may hold.", 2, 1000)
    ] = 25
    statement_timeout: Annotated[
        str,
        About(
            "How long one statement may take before the database ends it.",
            "a number with its unit: ms, s, min or h, as in 30s",
            is_duration,
        ),
    ] = "30s"

    def __repr__(self) -> str:
        """Leave the DSN out: it can hold a password."""
        return f"Database(max_connections={self.max_connections})"


class Logging(msgspec.Struct, frozen=True):
    """What is written to standard error, which the journal keeps."""

    level: Annotated[
        Literal["debug", "info", "warn", "error"],
        About("The least important line that is written."),
    ] = "info"
    format: Annotated[
        Literal["json", "text"], About("One JSON object a line, or text for a terminal.")
    ] = "json"


class Identity(msgspec.Struct, frozen=True):
    """The key files, whose owner and mode are checked when they are read, and what a password may be."""

    jwt_private_key: Annotated[str, path("The RSA key (PEM) that signs access tokens.")] = (
        "/etc/openwatch/keys/jwt_private.pem"
    )
    credential_key_file: Annotated[
        str,
        path("The 32-byte key that encrypts stored secrets; back it up with the database."),
    ] = "/etc/openwatch/keys/credential.key"
    breach_file: Annotated[
        str,
        path(
            "Breached passwords that nobody may take, beside the 30,000 the program knows: SHA-1 hashes"
            " in order, one a line, with or without `:count`, as Have I Been Pwned gives them.",
            empty=True,
        ),
    ] = ""


class Scan(msgspec.Struct, frozen=True):
    """What a scan may do."""

    allow_local: Annotated[
        bool,
        About(
            "Whether this machine itself may be a host that is scanned without SSH, by commands that"
            " run as the service.",
            "true or false",
        ),
    ] = False
    budget_seconds: Annotated[
        float, number("How long one scan of one host may take, in seconds.", 10, 86400)
    ] = 600.0
    filesystem_budget_seconds: Annotated[
        float,
        number(
            "How long a scan of the filesystem lane, which walks a host's disks and verifies its"
            " packages, may take, in seconds.",
            60,
            86400,
        ),
    ] = 3000.0
    sudo_password: Annotated[
        bool,
        About(
            "Whether a credential's password may be typed into sudo where a host's sudo asks for one."
            " It is tried once; a host that refuses it is not tried again within the hour.",
            "true or false",
        ),
    ] = False
    trust_first_host_key: Annotated[
        bool,
        About(
            "Whether the key of a host that has none approved yet is accepted at first sight. A changed"
            " key always stops the scan.",
            "true or false",
        ),
    ] = False


class Rules(msgspec.Struct, frozen=True):
    """Rules beside those that come with the program."""

    directories: Annotated[
        tuple[str, ...],
        About(
            "Further directories with rules, frameworks and variables. They, and all in and above"
            " them, must belong to root and be writable by nobody else.",
            "a list of absolute paths",
            are_paths,
        ),
    ] = ()


class Posture(msgspec.Struct, frozen=True):
    """How answers about a date are given."""

    max_age_hours: Annotated[
        float,
        number(
            "How old the last complete scan of a host may be before it counts as stale.",
            1,
            8760,
        ),
    ] = 96.0


class Audit(msgspec.Struct, frozen=True):
    """Where the audit trail is sent to, beside the database: every event and checkpoint, at least once."""

    syslog: Annotated[
        str,
        About(
            "A syslog server (RFC 5424) over TLS, TCP or UDP; of these only UDP loses messages.",
            "tls://host:port, tcp://host:port or udp://host:port, or nothing",
            is_syslog,
        ),
    ] = ""
    webhook_url: Annotated[
        str,
        About(
            "Where batches of the trail are posted as JSON.",
            "an https URL without a user, or nothing",
            is_https,
            secret=True,
        ),
    ] = ""
    webhook_secret_file: Annotated[
        str,
        path(
            "The secret that posts are signed with by HMAC-SHA256; not readable by others.",
            empty=True,
        ),
    ] = ""
    ca_file: Annotated[
        str,
        path(
            "The authorities (PEM) of the receivers' certificates; the system's where it is empty.",
            empty=True,
        ),
    ] = ""

    def __repr__(self) -> str:
        """Leave the webhook's URL out: it can hold a secret."""
        return f"Audit(syslog={self.syslog!r})"


class Config(msgspec.Struct, frozen=True):
    """The whole configuration, checked."""

    server: Server = Server()
    worker: Worker = Worker()
    database: Database = Database()
    logging: Logging = Logging()
    identity: Identity = Identity()
    scan: Scan = Scan()
    rules: Rules = Rules()
    posture: Posture = Posture()
    audit: Audit = Audit()


class Option(msgspec.Struct, frozen=True):
    """One line of the table."""

    section: str
    key: str
    type: Any
    default: Any
    about: About

    @property
    def name(self) -> str:
        """The name in files and messages: `server.listen`."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The name in the environment: OPENWATCH_SERVER_LISTEN."""
        return f"{PREFIX}{self.section}_{self.key}".upper()

    @property
    def is_list(self) -> bool:
        """True where the environment separates several values by commas."""
        return get_origin(self.type) is tuple

    @property
    def expects(self) -> str:
        """What may stand here, for messages and documentation."""
        if get_origin(self.type) is Literal:
            return "one of " + ", ".join(get_args(self.type))
        if self.type is int:
            return self.about.expects.replace("a number", "a whole number")
        return self.about.expects

    def read(self, value: object, *, text: bool) -> Any:
        """Return the typed value, from TOML or from `text`. Raise ValueError, without the value."""
        if text and self.is_list:
            value = tuple(part.strip() for part in str(value).split(",") if part.strip())
        try:
            typed = msgspec.convert(value, self.type, strict=not text)
        except msgspec.ValidationError:
            raise ValueError(self.expects) from None
        if not self.about.accepts(typed):
            raise ValueError(self.expects)
        return typed


def _options(sections: Sequence[msgspec.structs.FieldInfo]) -> tuple[Option, ...]:
    found = []
    for section in sections:
        hints = get_type_hints(section.type, include_extras=True)
        for field in msgspec.structs.fields(section.type):
            kind, about = get_args(hints[field.name])
            found.append(Option(section.name, field.name, kind, field.default, about))
    return tuple(found)


OPTIONS = _options(msgspec.structs.fields(Config))
SECTIONS = {f.name: (f.type.__doc__ or "").strip() for f in msgspec.structs.fields(Config)}
