"""The installed command, run as a person runs it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from openwatch import ids
from openwatch.accounts import passwords, users
from openwatch.db import Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.db.embedded import Server

OPENWATCH = Path(sys.executable).with_name("openwatch")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("OPENWATCH_")}


def run(*words: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OPENWATCH, *words],
        input=stdin,
        capture_output=True,
        text=True,
        env=CLEAN | environ,
        timeout=60,
        check=False,
    )


def test_the_version_is_one_line() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("openwatch 0.")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["check", "--help"]])
def test_the_help_is_printed(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 0
    assert "Exit status of check" in done.stdout


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "openwatch", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("openwatch ")


@pytest.mark.parametrize("words", [["srve"], ["--nonsense"], ["check"], ["serve", "--config"]])
def test_a_misuse_ends_with_2_and_nothing_on_standard_output(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("openwatch: ")


def test_check_config_prints_values_and_origins_and_no_password(tmp_path: Path) -> None:
    file = tmp_path / "openwatch.toml"
    file.write_text("[server]\nworkers = 3\n")
    done = run(
        "check-config",
        "--config",
        str(file),
        "--listen",
        "127.0.0.1:9443",
        OPENWATCH_DATABASE_DSN="postgres://ow:topsecret@db/openwatch",
        OPENWATCH_LICENSE_FILE="/x",
    )
    assert done.returncode == 0, done.stderr
    assert '"127.0.0.1:9443"  # flag --listen' in done.stdout
    assert f"= 3  # file {file}:2" in done.stdout
    assert "://ow:***@db" in done.stdout
    assert "topsecret" not in done.stdout + done.stderr
    assert "# environment OPENWATCH_DATABASE_DSN" in done.stdout
    assert "OPENWATCH_LICENSE_FILE has no effect" in done.stderr
    assert done.stdout.endswith("the configuration is valid\n")


def test_check_config_speaks_json() -> None:
    document = json.loads(run("check-config", "--json").stdout)
    assert document["valid"] is True
    assert document["settings"]["server.workers"] == {"value": 1, "origin": "default"}


def test_check_config_tells_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "openwatch.toml"
    file.write_text("[server]\nlissten = 1\nworkers = -1\n")
    done = run("check-config", "--config", str(file), OPENWATCH_SERVER_LISTN="x")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "unknown key server.lissten; did you mean server.listen?" in done.stderr
    assert "server.workers must be a whole number from 0 to 64, not -1" in done.stderr
    assert "did you mean OPENWATCH_SERVER_LISTEN?" in done.stderr
    as_json = run("check-config", "--json", "--config", str(file))
    assert as_json.returncode == 1
    assert len(json.loads(as_json.stdout)["problems"]) == 2


@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "check-config"])
def test_no_command_starts_with_an_unknown_key(tmp_path: Path, command: str) -> None:
    file = tmp_path / "openwatch.toml"
    file.write_text("[server]\nlissten = 1\n")
    done = run(command, "--config", str(file))
    assert done.returncode == 1
    assert "did you mean server.listen?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_named_file_that_is_missing_ends_with_1(tmp_path: Path) -> None:
    done = run("check-config", "--config", str(tmp_path / "gone"))
    assert done.returncode == 1
    assert "there is no such file" in done.stderr


def test_a_reader_that_goes_away_leaves_no_trace() -> None:
    program = f"{OPENWATCH} check-config --json | true"
    done = subprocess.run(
        ["sh", "-c", program],
        capture_output=True,
        text=True,
        env=CLEAN,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_an_admin_password_is_never_an_argument() -> None:
    done = run(
        "create-admin", "--username", "a", "--email", "a@b", "--password", "hunter2hunter2"
    )
    assert done.returncode == 2
    assert "hunter2" not in done.stderr


def test_an_empty_password_is_a_misuse() -> None:
    done = run("create-admin", "--username", "a", "--email", "a@b.c", stdin="\n")
    assert done.returncode == 2
    assert "holds no password" in done.stderr


def test_an_admin_is_created_once_and_the_password_is_printed_nowhere(
    dsn: str, tmp_path: Path
) -> None:
    words = ["create-admin", "--username", "root", "--email", "root@example.org"]
    first = run(*words, stdin="correct horse battery\n", OPENWATCH_DATABASE_DSN=dsn)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("created root with the role admin, id ")
    secret = tmp_path / "password"
    secret.write_text("another good password\n")
    again = run(*words, "--password-file", str(secret), OPENWATCH_DATABASE_DSN=dsn)
    assert again.returncode == 1
    assert "already" in again.stderr
    for run_ in (first, again):
        assert "battery" not in run_.stdout + run_.stderr
        assert "good password" not in run_.stdout + run_.stderr


def test_users_are_helped_from_the_command_line_when_nobody_can_sign_in(dsn: str) -> None:
    def ow(*words: str, stdin: str = "") -> tuple[int, str]:
        done = run(*words, stdin=stdin, OPENWATCH_DATABASE_DSN=dsn)
        assert "battery" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    for name in ("root", "alice"):
        words = ("create-admin", "--username", name, "--email", f"{name}@example.org")
        assert ow(*words, stdin="correct horse battery\n")[0] == 0
    assert ow("users", "list") == (0, "root   admin\nalice  admin\n")
    assert ow("users", "disable", "alice")[0] == 0
    assert ow("users", "list")[1].endswith("alice  admin  disabled\n")
    status, said = ow("users", "disable", "root")
    assert status == 1
    assert "nobody who may do everything" in said
    assert ow("users", "enable", "alice")[0] == 0
    assert ow("users", "unlock", "root")[0] == 0
    assert ow("users", "reset-mfa", "root") == (
        0,
        "root had no second factor; every sign-in of theirs has ended\n",
    )
    status, said = ow("users", "unlock", "rot")
    assert status == 2
    assert "did you mean root?" in said
    status, said = ow("users", "reset-password", "root", stdin="short one\n")
    assert status == 1
    assert "15 to 128" in said
    assert ow("users", "reset-password", "root", stdin="another battery staple\n")[0] == 0
    db = open_database(dsns.parse(dsn))
    with db.scope():
        user = users.find(db, "root")
        assert user is not None
        assert passwords.is_right("another battery staple", user.password_hash)
        rows = db.rows(
            Query("t", "t", "SELECT action FROM audit_events WHERE actor_type = 'system'")
        )
    db.close_all()
    assert {row["action"] for row in rows} >= {
        "admin.user.disabled",
        "admin.user.enabled",
        "admin.user.updated",
        "admin.user.password_reset",
    }


def test_a_short_admin_password_is_refused(dsn: str) -> None:
    done = run(
        *("create-admin", "--username", "root", "--email", "root@example.org"),
        stdin="short\n",
        OPENWATCH_DATABASE_DSN=dsn,
    )
    assert done.returncode == 1
    assert "15" in done.stderr


def test_a_database_that_is_down_is_one_sentence() -> None:
    done = run(
        *("create-admin", "--username", "root", "--email", "root@example.org"),
        stdin="correct horse battery\n",
        OPENWATCH_DATABASE_DSN="postgres://ow:topsecret@127.0.0.1:1/ow?connect_timeout=2",
    )
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert "topsecret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_check_config_judges_the_dsn_without_printing_it() -> None:
    done = run(
        "check-config", OPENWATCH_DATABASE_DSN="host=db password=topsecret sslmod=require"
    )
    assert done.returncode == 1
    assert "environment OPENWATCH_DATABASE_DSN: database.dsn: " in done.stderr
    assert "sslmod" in done.stderr
    assert "topsecret" not in done.stderr


def test_an_empty_database_is_migrated_once(postgres: Server) -> None:
    name = f"t_{ids.new_id().hex}"
    dsn = postgres.create_database(name)
    before = run("migrate", "--status", OPENWATCH_DATABASE_DSN=dsn)
    assert before.returncode == 1
    assert "pending 0001_foundation.sql" in before.stdout
    refused = run("worker", OPENWATCH_DATABASE_DSN=dsn)
    assert refused.returncode == 1
    first = run("migrate", OPENWATCH_DATABASE_DSN=dsn)
    assert first.returncode == 0, first.stderr
    assert "applied 0001_foundation.sql" in first.stdout
    again = run("migrate", OPENWATCH_DATABASE_DSN=dsn)
    assert again.returncode == 0, again.stderr
    assert again.stdout == "the schema is current\n"
    assert run("migrate", "--status", OPENWATCH_DATABASE_DSN=dsn).returncode == 0
    postgres.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_an_admin_needs_a_current_schema(postgres: Server) -> None:
    name = f"t_{ids.new_id().hex}"
    dsn = postgres.create_database(name)
    done = run(
        *("create-admin", "--username", "root", "--email", "root@example.org"),
        stdin="correct horse battery\n",
        OPENWATCH_DATABASE_DSN=dsn,
    )
    assert done.returncode == 1
    assert "openwatch migrate" in done.stderr
    postgres.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_the_api_is_described() -> None:
    done = run("openapi")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["openapi"].startswith("3.1")


def test_a_password_is_asked_for_twice_on_a_terminal_and_not_echoed() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [OPENWATCH, "create-admin", "--username", "a", "--email", "a@b.c"],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=CLEAN,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    for prompt, typed in ((b"Password: ", b"first secret\n"), (b"again: ", b"other secret\n")):
        while prompt not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, typed)
    assert process.wait(30) == 2
    with contextlib.suppress(OSError):  # the terminal of a process that has ended
        while more := os.read(ours, 1024):
            shown += more
    os.close(ours)
    assert b"the two passwords differ" in shown
    assert b"secret" not in shown
