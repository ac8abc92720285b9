"""Second factors and sign-ins at the same moment."""

from __future__ import annotations

import base64
import threading
import urllib.parse

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from openwatch import clock, errors, ids
from openwatch.accounts import mfa, roles, sessions, totp, users
from openwatch.accounts.tokens import Tokens
from openwatch.accounts.types import Factor
from openwatch.audit.types import SYSTEM
from openwatch.db import Query
from openwatch.vault import Vault

LOCKED = Query(
    "locked",
    "how many wait for a lock",
    # Not pg_stat_activity: within a transaction that goes on saying what it said first.
    "SELECT count(*) FROM pg_locks WHERE NOT granted",
)


@pytest.fixture
def alice(database) -> users.User:
    roles.ensure_built_in(database)
    return users.create(database, "alice", "alice@example.org", "correct horse battery")


def test_who_signs_in_while_a_factor_is_put_in_force_needs_it(database, alice) -> None:
    db, vault, now = database, Vault([b"k" * 32]), clock.now()
    tokens = Tokens([rsa.generate_private_key(public_exponent=65537, key_size=2048)])
    uri = mfa.enrol(db, vault, alice.id, now, actor=SYSTEM)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query)
    code = totp.code(base64.b32decode(query["secret"][0]), totp.step_of(now))
    outcome: list[str] = []

    def sign_in() -> None:
        with db.scope():
            try:
                sessions.issue(db, tokens, alice, {Factor.PASSWORD}, now=now)
                outcome.append("let in")
            except errors.Unauthenticated as refused:
                outcome.append(refused.code)

    thread = threading.Thread(target=sign_in)
    with db.atomic():
        mfa.confirm(db, vault, alice.id, code, session_id=ids.new_id(), now=now, actor=SYSTEM)
        thread.start()
        until = clock.monotonic() + 10
        while not db.value(LOCKED) and clock.monotonic() < until:
            thread.join(0.02)
    thread.join(10)
    assert outcome == ["auth.mfa_required"]


def test_two_enrolments_at_once_leave_one_that_waits(database, alice) -> None:
    db, vault, now = database, Vault([b"k" * 32]), clock.now()
    ready = threading.Barrier(3)

    def begin() -> None:
        with db.scope():
            ready.wait()
            mfa.enrol(db, vault, alice.id, now, actor=SYSTEM)

    threads = [threading.Thread(target=begin) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    count = Query("count", "how many there are", "SELECT count(*) FROM auth_mfa_secrets")
    assert db.value(count) == 1
    assert mfa.state(db, alice.id) is mfa.State.PENDING


def test_a_secret_does_not_open_in_another_row(database, alice) -> None:
    db, vault, now = database, Vault([b"k" * 32]), clock.now()
    mfa.enrol(db, vault, alice.id, now, actor=SYSTEM)
    move = Query("move", "to another row", "UPDATE auth_mfa_secrets SET id = :id")
    db.run(move, id=ids.new_id())
    with pytest.raises(errors.SecretUnreadable):
        mfa.confirm(
            db, vault, alice.id, "000000", session_id=ids.new_id(), now=now, actor=SYSTEM
        )
