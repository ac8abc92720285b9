"""Progressive lock-out: who waits, how long, and that nobody can keep another out for ever."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from openwatch import clock, errors
from openwatch.accounts import lockout, passwords, roles, users
from openwatch.accounts.lockout import ACCOUNT, LONGEST, PAIR, SITE, Attempt
from openwatch.accounts.login import change_password, login
from openwatch.accounts.tokens import Tokens
from openwatch.accounts.types import Client
from openwatch.db import Database, Query
from openwatch.vault import Vault

PASSWORD = "correct horse battery"
VAULT = Vault([b"k" * 32])
NOW = clock.now().replace(microsecond=0)
SECOND = dt.timedelta(seconds=1)
HOME, OFFICE = Client("192.0.2.1", "home"), Client("198.51.100.1", "office")


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens([rsa.generate_private_key(public_exponent=65537, key_size=2048)])


@pytest.fixture
def alice(database: Database) -> users.User:
    roles.ensure_built_in(database)
    return users.create(database, "alice", "alice@example.org", PASSWORD, role="viewer")


@pytest.fixture
def quick(monkeypatch) -> list[str | None]:
    """Hashing that takes no time; what was hashed against is listed."""
    seen: list[str | None] = []

    def matches(password: str, stored: str | None) -> bool:
        seen.append(stored)
        return stored is not None and password == PASSWORD

    monkeypatch.setattr(passwords, "matches", matches)
    return seen


def _rows(database: Database, text: str, **values):
    return database.rows(Query("test", "test", text), **values)


def _try(database, tokens, name, password, client, now) -> str:
    try:
        login(database, tokens, VAULT, name, password, now=now, client=client)
    except errors.Rejected as refused:
        return refused.code
    return "ok"


def _locked_until(database, name, client, now) -> dt.datetime | None:
    try:
        lockout.require_open(database, Attempt(name, client.remote_addr), now)
    except errors.Forbidden as refused:
        locked = refused
    else:
        return None
    assert locked.code == "auth.account_locked"
    assert locked.detail["reason"] == "too_many_failures"
    return dt.datetime.fromisoformat(locked.detail["unlock_at"])


def test_waits_double_up_to_a_quarter_of_an_hour() -> None:
    waits = [
        (lockout.unlocks_at(PAIR, level, NOW) - NOW).total_seconds() for level in range(13)
    ]
    assert waits == [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900]
    for kind in (PAIR, ACCOUNT, SITE):
        assert lockout.unlocks_at(kind, kind.most, NOW) - NOW == LONGEST
        assert kind.most * kind.sinks_in < 3 * 3600


def test_after_five_failures_one_waits_whether_the_name_exists_or_not(
    database: Database, tokens: Tokens, alice, quick
) -> None:
    for name in ("alice", "nobody"):
        outcomes = [_try(database, tokens, name, "wrong", HOME, NOW) for _ in range(8)]
        assert outcomes == ["auth.invalid_credentials"] * 5 + ["auth.account_locked"] * 3
        assert _locked_until(database, name, HOME, NOW) == NOW + 30 * SECOND
    # Not even the right password is looked at while one waits, and waiting is not made longer by it.
    hashed = len(quick)
    assert _try(database, tokens, "alice", PASSWORD, HOME, NOW + 29 * SECOND) == (
        "auth.account_locked"
    )
    assert len(quick) == hashed
    assert _try(database, tokens, "alice", PASSWORD, HOME, NOW + 30 * SECOND) == "ok"
    assert _try(database, tokens, "alice", "wrong", HOME, NOW + 30 * SECOND) == (
        "auth.invalid_credentials"
    )


def test_the_same_statements_and_one_hash_for_known_and_unknown(
    database: Database, tokens: Tokens, alice, quick, monkeypatch
) -> None:
    seen: list[str] = []
    real = database._execute

    def noted(query, parameters):
        seen.append(getattr(query, "name", str(query)))
        return real(query, parameters)

    monkeypatch.setattr(database, "_execute", noted)
    ways = []
    database.run("UPDATE users SET disabled_at = NULL")
    for name, password in (("alice", "wrong"), ("nobody", PASSWORD)):
        seen.clear()
        quick.clear()
        assert _try(database, tokens, name, password, HOME, NOW) == "auth.invalid_credentials"
        ways.append((tuple(seen), len(quick)))
    assert ways[0] == ways[1]
    assert ways[0][1] == 1


def test_one_address_cannot_keep_a_user_out_anywhere_else(
    database: Database, tokens: Tokens, alice, quick
) -> None:
    attacker, now = Client("203.0.113.9", "curl"), NOW
    for _ in range(24 * 60):  # a day, a try a minute
        _try(database, tokens, "alice", "wrong", attacker, now)
        now += 60 * SECOND
    assert _locked_until(database, "alice", attacker, now) is not None
    assert _try(database, tokens, "alice", PASSWORD, HOME, now) == "ok"
    assert _try(database, tokens, "alice", PASSWORD, OFFICE, now) == "ok"


def test_many_addresses_keep_a_user_out_where_they_are_new_and_nowhere_else(
    database: Database, tokens: Tokens, alice, quick
) -> None:
    assert _try(database, tokens, "alice", PASSWORD, HOME, NOW) == "ok"
    for number in range(30):
        for _ in range(4):
            _try(database, tokens, "alice", "wrong", Client(f"203.0.113.{number}"), NOW)
    until = _locked_until(database, "alice", OFFICE, NOW)
    assert until is not None
    assert until - NOW <= LONGEST
    assert _try(database, tokens, "alice", PASSWORD, HOME, NOW) == "ok"
    # Another user is not meant by it, and the wait ends.
    users.create(database, "bob", "bob@example.org", PASSWORD)
    assert _try(database, tokens, "bob", PASSWORD, OFFICE, NOW) == "ok"
    assert _try(database, tokens, "alice", PASSWORD, OFFICE, NOW + LONGEST) == "ok"


def test_an_address_that_fails_at_many_names_waits_but_not_who_is_known_there(
    database: Database, tokens: Tokens, alice, quick
) -> None:
    assert _try(database, tokens, "alice", PASSWORD, OFFICE, NOW) == "ok"
    for number in range(40):
        _try(database, tokens, f"name-{number}", "guess", OFFICE, NOW)
    assert _locked_until(database, "name-99", OFFICE, NOW) is not None
    assert _locked_until(database, "alice", OFFICE, NOW) is None
    assert _try(database, tokens, "alice", PASSWORD, OFFICE, NOW) == "ok"


def test_a_network_of_version_six_is_one_address(database: Database) -> None:
    for number in range(5):
        lockout.failed(database, Attempt("alice", f"2001:db8::{number}"), NOW)
    assert _locked_until(database, "alice", Client("2001:db8::ffff"), NOW) is not None
    assert _locked_until(database, "alice", Client("2001:db8:0:1::1"), NOW) is None
    assert lockout.site_of("::ffff:192.0.2.1") == "192.0.2.1"


def test_counters_sink_and_are_forgotten(database: Database) -> None:
    for number in range(50):
        lockout.failed(database, Attempt(f"n{number}", f"192.0.2.{number}"), NOW)
    assert len(_rows(database, "SELECT 1 FROM login_failures")) == 150
    lockout.failed(database, Attempt("other", "198.51.100.7"), NOW + dt.timedelta(hours=4))
    lockout.failed(database, Attempt("other", "198.51.100.7"), NOW + dt.timedelta(hours=4))
    assert len(_rows(database, "SELECT 1 FROM login_failures")) == 3
    (row,) = _rows(
        database,
        "SELECT level FROM login_failures WHERE account = :account AND site <> ''",
        account=Attempt("other", "").account,
    )
    assert row["level"] == 2


def test_no_name_and_no_address_is_stored(database: Database, tokens, alice, quick) -> None:
    _try(database, tokens, "a secret typed as a name", "wrong", HOME, NOW)
    _try(database, tokens, "alice", PASSWORD, HOME, NOW)
    dump = str(_rows(database, "SELECT f::text FROM login_failures f"))
    dump += str(_rows(database, "SELECT s::text FROM login_sites s"))
    assert "secret" not in dump
    assert HOME.remote_addr not in dump
    assert b"secret".hex() not in dump


def test_failures_at_once_are_all_counted(
    database: Database, tokens: Tokens, alice, quick
) -> None:
    start, outcomes = threading.Barrier(8), []

    def attempt() -> None:
        with database.scope():
            start.wait()
            outcomes.append(_try(database, tokens, "alice", "wrong", HOME, NOW))

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Those that hash at this moment were let in before; none of the others is.
    assert outcomes.count("auth.invalid_credentials") <= 5 + passwords._CORES
    assert set(outcomes) <= {"auth.invalid_credentials", "auth.account_locked"}
    assert _locked_until(database, "alice", HOME, NOW) is not None


def test_a_wrong_current_password_counts_as_a_failed_sign_in(
    database: Database, tokens: Tokens, alice, quick
) -> None:
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW, client=HOME)
    for _ in range(5):
        with pytest.raises(errors.Unauthenticated):
            change_password(
                database,
                alice.id,
                signed.session_id,
                "wrong",
                "another good one",
                now=NOW,
                client=HOME,
            )
    with pytest.raises(errors.Forbidden) as locked:
        change_password(
            database, alice.id, signed.session_id, PASSWORD, "x" * 9, now=NOW, client=HOME
        )
    assert locked.value.code == "auth.account_locked"


def test_unlocking_opens_every_address_that_failed(
    database: Database, tokens: Tokens, alice, quick
) -> None:
    for _ in range(9):
        _try(database, tokens, "alice", "wrong", HOME, NOW)
    for number in range(40):
        _try(database, tokens, f"name-{number}", "guess", HOME, NOW)
    lockout.unlock(database, "alice")
    assert _try(database, tokens, "alice", PASSWORD, HOME, NOW) == "ok"


def test_every_refusal_is_in_the_trail_with_its_reason(
    database: Database, tokens: Tokens, alice, quick
) -> None:
    _try(database, tokens, "nobody", PASSWORD, HOME, NOW)
    for _ in range(6):
        _try(database, tokens, "alice", "wrong", HOME, NOW)
    database.run("UPDATE users SET disabled_at = clock_timestamp()")
    _try(database, tokens, "alice", PASSWORD, OFFICE, NOW)
    rows = _rows(
        database,
        "SELECT detail->>'reason' AS reason, outcome, actor_ip, detail->>'username' AS name"
        " FROM audit_events WHERE action = 'auth.login.failure' ORDER BY number",
    )
    assert [row["reason"] for row in rows] == [
        "unknown_user",
        *["wrong_password"] * 5,
        "account_locked",
        "account_disabled",
    ]
    assert {row["outcome"] for row in rows} == {"failure"}
    assert rows[0]["name"] == "nobody"
    assert rows[-1]["actor_ip"] == OFFICE.remote_addr
