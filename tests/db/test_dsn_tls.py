"""A table of DSNs through us and through psql: both connect, or both refuse."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from openwatch import errors
from openwatch.db import dsn as dsns
from openwatch.db.connect import connector
from tests.db.tls_server import TlsServer, programs_with_tls, tls_server

_PROGRAMS = programs_with_tls()
pytestmark = pytest.mark.skipif(
    _PROGRAMS is None,
    reason="no PostgreSQL with TLS in /usr/lib/postgresql (apt-get install postgresql)",
)

_TCP = "host=localhost port={port} dbname=postgres"
_ROOT = "sslrootcert={root}"
_WRONG = "sslrootcert={stranger}"
_CERT = "sslcert={cert} sslkey={key}"

# (the DSN, whether it connects). {pw} is the superuser's password.
_TABLE = [
    ("postgresql://openwatch:{pw}@localhost:{port}/postgres", True),
    ("postgres://openwatch:{pw}@127.0.0.1:{port}/postgres?sslmode=disable", True),
    ("postgresql://openwatch:wrong@localhost:{port}/postgres", False),
    ("postgresql://openwatch@localhost:{port}/postgres", False),
    ("postgresql://openwatch:{pw}@localhost:{port}/missing", False),
    ("postgresql://nobody:pw@localhost:{port}/postgres", False),
    ("postgresql://%6Fpenwatch:{pw}@%6Cocalhost:{port}/%70ostgres?ssl%6Dode=requir%65", True),
    ("postgresql://openwatch:{pw}@localhost:{port}/postgres?ssl=true", True),
    ("postgresql:///postgres?host=localhost&port={port}&user=openwatch&password={pw}", True),
    ("postgresql://openwatch:{pw}@{sockets_escaped}:{port}/postgres", True),
    ("postgresql://openwatch:{pw}@/postgres?host={sockets}&port={port}", True),
    ("host={sockets} port={port} dbname=postgres user=openwatch password={pw}", True),
    ("host={sockets} port={port} dbname=postgres user=openwatch password={pw} sslmode=verify-full sslrootcert={root}", True),
    ("host={sockets} port=1 dbname=postgres user=openwatch password={pw}", False),
    ("host = 'localhost' port='{port}'  dbname =postgres user= openwatch password='{pw}'", True),
    ("host={sockets} port={port} dbname=postgres user='odd @:/user' password='p w'", True),
    ("host={sockets} port={port} dbname=postgres user=odd\\ @:/user password=p\\ w", True),
    ("postgresql://odd%20%40%3A%2Fuser:p%20w@{sockets_escaped}:{port}/postgres", True),
    ("postgresql://openwatch:{pw}@localhost:1,localhost:{port}/postgres", True),
    ("postgresql://openwatch:{pw}@localhost:1,127.0.0.1:2/postgres", False),
    ("postgresql://openwatch:{pw}@[::1]:{port},localhost:{port}/postgres", True),
    ("host=localhost,127.0.0.1 port=1,{port} user=openwatch dbname=postgres password={pw}", True),
    ("host=localhost,127.0.0.1 port=1,2,{port} user=openwatch dbname=postgres password={pw}", False),
    ("postgresql://openwatch:wrong@localhost:{port},127.0.0.1:{port}/postgres", False),
    # who needs TLS, and who must not have it
    *((f"{_TCP} user=needs_tls password=pw sslmode={mode}", mode != "disable")
      for mode in ("disable", "allow", "prefer", "require")),
    *((f"{_TCP} user=hates_tls password=pw sslmode={mode}", mode != "require")
      for mode in ("disable", "allow", "prefer", "require")),
    (f"{_TCP} user=old_way password=pw sslmode=require", True),
    (f"{_TCP} user=old_way password=pw sslmode=disable", True),
    # the certificate
    *((f"{_TCP} user=needs_tls password=pw sslmode={mode} {_ROOT}", True)
      for mode in ("allow", "prefer", "require", "verify-ca", "verify-full")),
    *((f"{_TCP} user=needs_tls password=pw sslmode={mode} {_WRONG}", False)
      for mode in ("allow", "prefer", "require", "verify-ca", "verify-full")),
    *((f"{_TCP} user=openwatch password={{pw}} sslmode={mode} {_WRONG}", mode in ("allow", "prefer"))
      for mode in ("allow", "prefer", "require", "verify-ca", "verify-full")),
    *((f"{_TCP} user=needs_tls password=pw sslmode={mode}", False) for mode in ("verify-ca", "verify-full")),
    ("host=127.0.0.1 port={port} dbname=postgres user=needs_tls password=pw sslmode=verify-full " + _ROOT, True),
    ("host=127.0.0.2 port={port} dbname=postgres user=needs_tls password=pw sslmode=verify-full " + _ROOT, False),
    ("host=127.0.0.2 port={port} dbname=postgres user=needs_tls password=pw sslmode=verify-ca " + _ROOT, True),
    # the client's certificate
    (f"{_TCP} user=by_cert sslmode=require {_CERT}", True),
    (f"{_TCP} user=by_cert sslmode=verify-full {_ROOT} {_CERT}", True),
    (f"{_TCP} user=by_cert sslmode=require", False),
    (f"{_TCP} user=needs_tls password=pw sslmode=require {_CERT}", True),
    (f"{_TCP} user=by_cert sslmode=require sslcert={{cert}} sslkey={{open_key}}", False),
    (f"{_TCP} user=by_cert sslmode=require sslcert={{cert}} sslkey={{other_key}}", False),
    # what kind of server
    *((f"{_TCP} user=openwatch password={{pw}} target_session_attrs={kind}", kind not in ("read-only", "standby"))
      for kind in ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")),
    (f"{_TCP} user=openwatch password={{pw}} target_session_attrs=read-only options='-c default_transaction_read_only=on'", True),
    (f"{_TCP} user=openwatch password={{pw}} target_session_attrs=read-write options='-c default_transaction_read_only=on'", False),
    (f"{_TCP} user=openwatch password={{pw}} options='-c no_such_setting=1'", False),
    (f"{_TCP} user=openwatch password={{pw}} options='-c search_path=public' application_name='a b' connect_timeout=5 keepalives_idle=30 channel_binding=prefer gssencmode=disable", True),
    # what is not even a DSN
    (f"{_TCP} user=openwatch password={{pw}} sslmode=maybe", False),
    (f"{_TCP} user=openwatch password={{pw}} no_such_option=1", False),
    (f"{_TCP} user=openwatch password={{pw}} connect_timeout=soon", False),
    (f"{_TCP} user=openwatch password='unended", False),
    (f"{_TCP} user=openwatch password", False),
    ("postgresql://openwatch:{pw}@localhost:{port}/postgres?sslmode", False),
    ("postgresql://openwatch:{pw}@localhost:{port}/postgres?sslmode=a=b", False),
    ("postgresql://openwatch:%zz@localhost:{port}/postgres", False),
    ("postgresql://openwatch:%00@localhost:{port}/postgres", False),
    ("postgresql://openwatch:{pw}@[::1:{port}/postgres", False),
    ("postgresql://openwatch:{pw}@localhost:99999/postgres", False),
    ("host=localhost port=no dbname=postgres user=openwatch password={pw}", False),
]  # fmt: skip


@pytest.fixture(scope="module")
def tls() -> Iterator[TlsServer]:
    assert _PROGRAMS is not None
    with tls_server(_PROGRAMS) as running:
        open_key = running.folder / "open.key"
        open_key.write_bytes(running.client_key.read_bytes())
        open_key.chmod(0o644)
        (running.folder / "home").mkdir()
        yield running


def filled(tls: TlsServer, text: str) -> str:
    sockets = str(tls.folder / "sockets")
    for name, value in {
        "port": tls.port,
        "pw": tls.server.password,
        "sockets_escaped": quote(sockets, safe=""),
        "sockets": sockets,
        "root": tls.authority.file,
        "stranger": tls.stranger.file,
        "cert": tls.client_certificate,
        "key": tls.client_key,
        "open_key": tls.folder / "open.key",
        "other_key": tls.folder / "other.key",
    }.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def psql(tls: TlsServer, text: str, env: dict[str, str]) -> tuple[bool, str]:
    done = subprocess.run(
        [str(tls.server.programs / "psql"), "-XAtqw", "-d", text, "-c", "SELECT 1"],
        env={**env, "PATH": os.environ["PATH"], "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stderr


def ours(text: str, env: dict[str, str]) -> tuple[bool, str]:
    try:
        parsed = dsns.parse(text, env)
        connection = connector(parsed)()
    except (errors.ConfigError, errors.StorageError) as error:
        return False, str(error)
    assert connection.execute_simple("SELECT 1").rows == [[1]]
    connection.abandon()
    # Rendered as a URI it means the same.
    again = dsns.parse(parsed.uri(), env)
    assert (again.addresses, again.database, again.user) == (
        parsed.addresses,
        parsed.database,
        parsed.user,
    )
    assert again.option("options") == parsed.option("options")
    return True, ""


@pytest.mark.parametrize(("template", "connects"), _TABLE, ids=range(len(_TABLE)))
def test_we_and_psql_agree(tls: TlsServer, template: str, connects: bool):
    text = filled(tls, template)
    env = {"HOME": str(tls.folder / "home")}
    assert (psql(tls, text, env)[0], ours(text, env)[0]) == (connects, connects), (
        psql(tls, text, env)[1],
        ours(text, env)[1],
    )
    if not connects:
        said = ours(text, env)[1]
        assert tls.server.password not in said
        assert "wrong" not in said


def test_we_and_psql_read_the_same_files_of_the_home_directory(tls: TlsServer):
    home = tls.folder / "full-home"
    (home / ".postgresql").mkdir(parents=True)
    env = {"HOME": str(home)}
    text = filled(tls, f"{_TCP} user=needs_tls sslmode=require")
    assert (psql(tls, text, env)[0], ours(text, env)[0]) == (False, False)
    note = home / ".pgpass"
    note.write_text(
        f"# ours\nelsewhere:*:*:needs_tls:no\nlocalhost:{tls.port}:postgres:needs_tls:pw\n"
    )
    note.chmod(0o600)
    assert (psql(tls, text, env)[0], ours(text, env)[0]) == (True, True)
    (home / ".postgresql" / "root.crt").write_bytes(tls.stranger.file.read_bytes())
    assert (psql(tls, text, env)[0], ours(text, env)[0]) == (False, False)
    (home / ".postgresql" / "root.crt").write_bytes(tls.authority.file.read_bytes())
    text = text.replace("require", "verify-full")
    assert (psql(tls, text, env)[0], ours(text, env)[0]) == (True, True)
    note.chmod(0o644)
    assert (psql(tls, text, env)[0], ours(text, env)[0]) == (False, False)
    (home / ".postgresql" / "postgresql.crt").write_bytes(tls.client_certificate.read_bytes())
    key = home / ".postgresql" / "postgresql.key"
    key.write_bytes(tls.client_key.read_bytes())
    key.chmod(0o600)
    text = text.replace("needs_tls", "by_cert")
    note.unlink()
    assert (psql(tls, text, env)[0], ours(text, env)[0]) == (True, True)


def test_libpq_environment_variables_stand_behind_the_dsn(tls: TlsServer):
    env = {
        "HOME": str(tls.folder / "home"),
        "PGHOST": "localhost",
        "PGPORT": str(tls.port),
        "PGPASSWORD": "pw",
        "PGSSLMODE": "disable",
    }
    for text, connects in (("user=needs_tls dbname=postgres", False), ("user=needs_tls dbname=postgres sslmode=require", True)):  # fmt: skip
        assert (psql(tls, text, env)[0], ours(text, env)[0]) == (connects, connects)


def test_a_named_file_that_is_missing_is_refused_where_libpq_forgives_it(tls: TlsServer):
    text = filled(
        tls, f"{_TCP} user=needs_tls password=pw sslmode=require sslrootcert=/nowhere/ca.crt"
    )
    connects, said = ours(text, {"HOME": str(tls.folder / "home")})
    assert not connects
    assert "sslrootcert /nowhere/ca.crt" in said


def test_what_is_refused_is_told_with_the_place_and_the_fix(tls: TlsServer):
    env = {"HOME": str(tls.folder / "home")}
    for template, words in (
        (f"{_TCP} user=openwatch password=wrong", ("localhost", "openwatch", "postgres", "check the password")),
        (f"{_TCP} user=openwatch", ("asks for a password",)),
        ("host=127.0.0.2 port={port} dbname=postgres user=needs_tls password=pw sslmode=verify-full " + _ROOT,
         ("127.0.0.2", "certificate is not accepted", "mismatch")),
        ("host=localhost port=1 user=a dbname=b", ("localhost:1", "Connection refused")),
        (f"{_TCP} user=by_cert sslmode=require sslcert={{cert}} sslkey={{open_key}}", ("open.key", "chmod 600")),
    ):  # fmt: skip
        said = ours(filled(tls, template), env)[1]
        assert all(word in said for word in words), said


def test_a_socket_that_nothing_answers_on_is_given_up(tls: TlsServer, tmp_path: Path):
    import socket
    import time

    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = time.monotonic()
        text = (
            f"host=127.0.0.1 port={silent.getsockname()[1]} user=a dbname=b connect_timeout=1"
        )
        connects, said = ours(text, {"HOME": str(tmp_path)})
        assert not connects
        assert "127.0.0.1" in said
        assert time.monotonic() - before < 5
