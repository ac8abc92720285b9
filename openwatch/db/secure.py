"""The files that secure a connection: TLS contexts by sslmode, client keys, password files."""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

from openwatch import errors
from openwatch.db.dsn import SOCKETS, Address, Dsn

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_FIELD = re.compile(r"((?:\\.|[^:\\])*)(?::|$)")


def context(dsn: Dsn) -> ssl.SSLContext:
    """Return a TLS context with libpq's meaning of the DSN's sslmode.

    A root certificate that exists is used in every mode, so that `require` verifies as
    `verify-ca` does (PostgreSQL documentation, 32.19.1). Raise ConfigError naming the file.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = _VERSIONS[dsn.option("ssl_min_protocol_version", "TLSv1.2")]
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if dsn.option("sslrootcert") == "system":
        made.load_default_certs(ssl.Purpose.SERVER_AUTH)
        made.verify_mode = ssl.CERT_REQUIRED
    elif root := _file(dsn, "sslrootcert", "root.crt"):
        _load("sslrootcert", root, lambda: made.load_verify_locations(root))
        made.verify_mode = ssl.CERT_REQUIRED
        if revoked := _file(dsn, "sslcrl", "root.crl"):
            _load("sslcrl", revoked, lambda: made.load_verify_locations(revoked))
            made.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    elif dsn.sslmode in ("verify-ca", "verify-full"):
        raise errors.ConfigError(
            f"sslmode={dsn.sslmode} needs a root certificate: name it as sslrootcert, or put it into"
            f" {dsn.home}/.postgresql/root.crt"
        )
    made.check_hostname = dsn.sslmode == "verify-full"
    _load_client(made, dsn)
    return made


def password(dsn: Dsn, address: Address) -> str:
    """Return the password for one address: the DSN's, else the password file's, else none."""
    if dsn.password:
        return dsn.password
    named = dsn.option("passfile")
    path = Path(named or Path(dsn.home) / ".pgpass")
    if not path.is_file():
        if named:
            raise errors.KeyFileError(f"passfile {path} does not exist")
        return ""
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise errors.KeyFileError(
            f"{path} holds passwords and others can read it: chmod 600 {path}"
        )
    host = "localhost" if address.host == SOCKETS else address.host
    wanted = (host, str(address.port), dsn.database, dsn.user)
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        fields = [re.sub(r"\\(.)", r"\1", field) for field in _FIELD.findall(line)[:5]]
        # An escaped asterisk does not exist there: a bare one is the wildcard.
        if len(fields) == 5 and all(
            f in ("*", w) for f, w in zip(fields[:4], wanted, strict=True)
        ):
            return fields[4]
    return ""


def _load_client(made: ssl.SSLContext, dsn: Dsn) -> None:
    certificate = _file(dsn, "sslcert", "postgresql.crt")
    if not certificate:
        return
    key = _file(dsn, "sslkey", "postgresql.key")
    if not key:
        raise errors.KeyFileError(
            f"there is a client certificate {certificate} and no sslkey for it"
        )
    _require_private(key)
    secret = dsn.option("sslpassword")
    # Without a password given, an encrypted key is an error and not a question on the terminal.
    _load("sslkey", key, lambda: made.load_cert_chain(certificate, key, lambda: secret))


def _require_private(key: str) -> None:
    """Refuse what libpq refuses: 0600, or 0640 where root owns the file."""
    status = os.stat(key)  # noqa: PTH116 - the path may be a link, as for libpq
    if not stat.S_ISREG(status.st_mode):
        raise errors.KeyFileError(f"sslkey {key} is not a regular file")
    forbidden = stat.S_IRWXG | stat.S_IRWXO
    if status.st_uid == 0:
        forbidden = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
    if status.st_mode & forbidden:
        raise errors.KeyFileError(
            f"sslkey {key} can be read or changed by others: chmod 600 {key} (640 where root owns it)"
        )


def _file(dsn: Dsn, option: str, standard: str) -> str:
    """Return the file of an option; the standard one where there is one; else nothing."""
    named = dsn.option(option)
    if named:
        if not os.access(named, os.R_OK):
            raise errors.ConfigError(f"{option} {named} does not exist or cannot be read")
        return named
    path = Path(dsn.home) / ".postgresql" / standard
    return str(path) if path.is_file() else ""


def _load(option: str, path: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (ssl.SSLError, OSError, ValueError) as error:
        raise errors.ConfigError(f"{option} {path} cannot be used: {error}") from None
