"""Users, roles, sign-ins and tokens on a real database."""

from __future__ import annotations

import datetime as dt
import threading

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from openwatch import clock, errors, ids
from openwatch.accounts import passwords, roles, sessions, users
from openwatch.accounts.login import login
from openwatch.accounts.permissions import Permission
from openwatch.accounts.refresh import refresh
from openwatch.accounts.tokens import Tokens
from openwatch.accounts.types import Client, Principal, Via
from openwatch.db import Database, Query
from openwatch.keys.files import jwt_key_id
from openwatch.vault import Vault

PASSWORD = "correct horse battery"
VAULT = Vault([b"k" * 32])
NOW = clock.now().replace(microsecond=0)
SECOND = dt.timedelta(seconds=1)
IDLE, ABSOLUTE = dt.timedelta(seconds=900), dt.timedelta(seconds=43200)


@pytest.fixture(scope="module")
def keys() -> list[rsa.RSAPrivateKey]:
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


@pytest.fixture
def tokens(keys) -> Tokens:
    return Tokens(keys[:1])


@pytest.fixture
def alice(database: Database) -> users.User:
    roles.ensure_built_in(database)
    return users.create(database, "alice", "alice@example.org", PASSWORD, role="viewer")


def _sql(database: Database, text: str, **values):
    return database.rows(Query("test", "test", text), **values)


def _run(database: Database, text: str, **values) -> None:
    database.run(Query("test", "test", text), **values)


def _principal(
    database: Database,
    tokens: Tokens,
    signed: sessions.SignedIn,
    now: dt.datetime = NOW,
    *,
    background: bool = False,
) -> Principal:
    return sessions.principal_of_session(
        database, signed.session_token, now, background, tokens.key_ids
    )


def _reason(raised) -> str:
    assert raised.value.code == "auth.session_invalid"
    assert raised.value.retryable
    return str(raised.value.detail["reason"])


def test_a_user_signs_in_and_has_the_permissions_of_every_role(
    database: Database, tokens: Tokens, alice
) -> None:
    _run(
        database,
        "INSERT INTO roles (id, description, permissions) VALUES ('custom', 'x', '{host:delete,other:thing}')",
    )
    _run(
        database,
        "INSERT INTO user_roles (user_id, role_id) VALUES (:id, 'custom')",
        id=alice.id,
    )
    signed = login(
        database,
        tokens,
        VAULT,
        "alice",
        PASSWORD,
        now=NOW,
        client=Client("10.0.0.1", "x" * 999),
    )
    cookie = _principal(database, tokens, signed)
    assert cookie.via is Via.SESSION
    assert cookie.username == "alice"
    assert cookie.roles == ("custom", "viewer")
    assert Permission.HOST_DELETE in cookie.permissions
    assert Permission.HOST_READ in cookie.permissions
    assert Permission.HOST_WRITE not in cookie.permissions
    bearer = tokens.principal(database, signed.access_token, NOW)
    assert bearer.via is Via.JWT
    assert bearer.permissions == cookie.permissions
    assert bearer.session_id == cookie.session_id
    assert signed.user.role == "viewer"
    (row,) = _sql(database, "SELECT * FROM sessions")
    assert len(row["user_agent"]) == 256
    assert row["remote_addr"] == "10.0.0.1"


def test_no_token_is_stored_or_shown(database: Database, tokens: Tokens, alice) -> None:
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    secrets = [signed.session_token, signed.refresh_token, signed.access_token]
    dump = str(_sql(database, "SELECT s::text, r::text FROM sessions s, refresh_tokens r"))
    for secret in secrets:
        assert secret not in dump
        assert secret not in repr(signed)
        assert secret.encode().hex() not in dump
    assert alice.password_hash not in repr(alice)
    assert len(signed.csrf_token) == 64


def test_unknown_wrong_and_disabled_are_refused_alike(
    database: Database, tokens: Tokens, alice
) -> None:
    refusals = []
    for name, password in (("nobody", PASSWORD), ("alice", "wrong"), ("Alice", PASSWORD)):
        with pytest.raises(errors.Unauthenticated) as refused:
            login(database, tokens, VAULT, name, password, now=NOW)
        refusals.append((refused.value.code, refused.value.message, str(refused.value.detail)))
    _run(database, "UPDATE users SET disabled_at = clock_timestamp()")
    with pytest.raises(errors.Unauthenticated) as refused:
        login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    refusals.append((refused.value.code, refused.value.message, str(refused.value.detail)))
    assert len(set(refusals)) == 1
    assert refusals[0][0] == "auth.invalid_credentials"
    assert not _sql(database, "SELECT 1 FROM sessions")


def test_a_session_slides_to_its_absolute_end_and_no_further(
    database: Database, tokens: Tokens, alice
) -> None:
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    now = NOW
    while now < NOW + ABSOLUTE:
        _principal(database, tokens, signed, now)
        now += IDLE - SECOND
    with pytest.raises(errors.Unauthenticated) as refused:
        _principal(database, tokens, signed, NOW + ABSOLUTE)
    assert _reason(refused) == "session_expired"


def test_an_idle_session_ends_and_background_requests_keep_none_alive(
    database: Database, tokens: Tokens, alice
) -> None:
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    _principal(database, tokens, signed, NOW + IDLE - SECOND, background=True)
    with pytest.raises(errors.Unauthenticated) as refused:
        _principal(database, tokens, signed, NOW + IDLE)
    assert _reason(refused) == "session_expired"
    # The access token lives by its own half hour, not by the cookie's idle time.
    tokens.principal(database, signed.access_token, NOW + IDLE)


def test_whatever_ends_an_account_ends_every_way_in(
    database: Database, tokens: Tokens, alice
) -> None:
    for statement, reason in (
        ("UPDATE users SET disabled_at = clock_timestamp()", "session_user_lookup_failed"),
        ("UPDATE users SET deleted_at = clock_timestamp()", "session_user_lookup_failed"),
        ("UPDATE sessions SET revoked_at = clock_timestamp()", "session_revoked"),
    ):
        _run(database, "UPDATE users SET disabled_at = NULL, deleted_at = NULL")
        signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
        _run(database, statement)
        with pytest.raises(errors.Unauthenticated) as refused:
            _principal(database, tokens, signed)
        assert _reason(refused) == reason
        with pytest.raises(errors.Unauthenticated) as refused:
            tokens.principal(database, signed.access_token, NOW)
        assert _reason(refused) == reason
        with pytest.raises(errors.Unauthenticated) as refused:
            refresh(database, tokens, signed.refresh_token, now=NOW)
        assert refused.value.code == "auth.refresh_invalid"


def test_an_unknown_cookie_is_refused(database: Database, tokens: Tokens) -> None:
    for cookie in ("", "nonsense", "\ud800"):
        with pytest.raises(errors.Unauthenticated) as refused:
            sessions.principal_of_session(database, cookie, NOW, False, tokens.key_ids)
        assert _reason(refused) == "invalid_session_token"


def test_another_jwt_key_ends_all_sessions_and_a_kept_old_one_none(
    database: Database, tokens: Tokens, alice, keys
) -> None:
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    rotated, replaced = Tokens([keys[1], keys[0]]), Tokens(keys[1:])
    assert _principal(database, rotated, signed).username == "alice"
    assert rotated.principal(database, signed.access_token, NOW).username == "alice"
    with pytest.raises(errors.Unauthenticated) as refused:
        _principal(database, replaced, signed)
    assert _reason(refused) == "session_revoked"
    with pytest.raises(errors.Unauthenticated):
        replaced.principal(database, signed.access_token, NOW)
    with pytest.raises(errors.Unauthenticated):
        refresh(database, replaced, signed.refresh_token, now=NOW)
    # A refresh under the new key carries the session over.
    renewed = refresh(database, rotated, signed.refresh_token, now=NOW)
    assert replaced.principal(database, renewed.access_token, NOW).username == "alice"


def test_forged_tokens_are_refused(database: Database, tokens: Tokens, alice, keys) -> None:
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    claims = jwt.decode(signed.access_token, options={"verify_signature": False})
    assert set(claims) == {"sub", "iat", "exp", "jti", "role", "sid"}
    assert claims["exp"] - claims["iat"] == 1800
    kid = {"kid": tokens.key_id}
    public = keys[0].public_key()
    forged = [
        jwt.encode(claims, keys[1], "RS256", headers=kid),
        jwt.encode(claims, keys[0], "RS256"),
        jwt.encode(claims, keys[0], "RS512", headers=kid),
        jwt.encode(claims, "", "none", headers=kid),
        jwt.encode(claims, "x" * 64, "HS256", headers=kid),
        jwt.encode(
            {k: v for k, v in claims.items() if k != "sid"}, keys[0], "RS256", headers=kid
        ),
        jwt.encode(claims | {"sid": str(ids.new_id())}, keys[0], "RS256", headers=kid),
        jwt.encode(claims | {"sid": "x"}, keys[0], "RS256", headers=kid),
        jwt.encode(claims | {"exp": "9999999999"}, keys[0], "RS256", headers=kid),
        jwt.encode(claims | {"sub": str(ids.new_id())}, keys[0], "RS256", headers=kid),
        signed.access_token[:-4] + "AAAA",
        "not.a.jwt",
        "",
    ]
    for token in forged:
        with pytest.raises(errors.Unauthenticated) as refused:
            tokens.principal(database, token, NOW)
        assert refused.value.code == "auth.session_invalid"
    with pytest.raises(errors.Unauthenticated) as refused:
        tokens.principal(database, signed.access_token, NOW + dt.timedelta(seconds=1800))
    assert _reason(refused) == "jwt_expired"
    assert jwt_key_id(public) == tokens.key_id


def test_refresh_rotates_and_keeps_the_session(
    database: Database, tokens: Tokens, alice
) -> None:
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    second = refresh(database, tokens, signed.refresh_token, now=NOW + SECOND)
    assert second.refresh_token != signed.refresh_token
    assert second.session_id == signed.session_id
    assert second.session_token == ""
    assert _principal(database, tokens, signed).username == "alice"
    third = refresh(database, tokens, second.refresh_token, now=NOW, renew_cookie=True)
    assert _principal(database, tokens, third).username == "alice"
    with pytest.raises(errors.Unauthenticated):
        _principal(database, tokens, signed)


def test_a_refresh_cookie_revives_an_idle_session_up_to_its_absolute_end(
    database: Database, tokens: Tokens, alice
) -> None:
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    later = NOW + ABSOLUTE - SECOND
    renewed = refresh(database, tokens, signed.refresh_token, now=later, renew_cookie=True)
    _principal(database, tokens, renewed, later)
    end = NOW + ABSOLUTE
    with pytest.raises(errors.Unauthenticated):
        _principal(database, tokens, renewed, end)
    with pytest.raises(errors.Unauthenticated) as refused:
        refresh(database, tokens, renewed.refresh_token, now=end, renew_cookie=True)
    assert refused.value.code == "auth.session_expired"
    with pytest.raises(errors.Unauthenticated) as refused:
        refresh(database, tokens, renewed.refresh_token, now=end)
    assert refused.value.code == "auth.refresh_invalid"


def test_a_refresh_token_shown_twice_ends_everything(
    database: Database, tokens: Tokens, alice
) -> None:
    first = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    other = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    second = refresh(database, tokens, first.refresh_token, now=NOW)
    for _ in range(2):
        with pytest.raises(errors.Unauthenticated) as refused:
            refresh(database, tokens, first.refresh_token, now=NOW)
        assert refused.value.code == "auth.refresh_reused"
    for ended in (second, other):
        with pytest.raises(errors.Unauthenticated) as refused:
            refresh(database, tokens, ended.refresh_token, now=NOW)
        assert refused.value.code == "auth.refresh_invalid"
    with pytest.raises(errors.Unauthenticated):
        _principal(database, tokens, other)
    marked = _sql(database, "SELECT 1 FROM refresh_tokens WHERE reuse_detected_at IS NOT NULL")
    assert len(marked) == 1


def test_a_replay_after_logout_ends_nobody_elses_sign_in(
    database: Database, tokens: Tokens, alice
) -> None:
    first = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    second = refresh(database, tokens, first.refresh_token, now=NOW)
    other = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    sessions.logout(database, None, second.refresh_token, NOW)
    with pytest.raises(errors.Unauthenticated) as refused:
        refresh(database, tokens, first.refresh_token, now=NOW)
    assert refused.value.code == "auth.refresh_invalid"
    assert _principal(database, tokens, other).username == "alice"


def test_two_refreshes_at_once_never_both_succeed(
    database: Database, dsn: str, tokens: Tokens, alice
) -> None:
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    start, outcomes = threading.Barrier(4), []

    def attempt() -> None:
        with database.scope():
            start.wait()
            try:
                refresh(database, tokens, signed.refresh_token, now=NOW)
                outcomes.append("ok")
            except errors.Unauthenticated as refused:
                outcomes.append(refused.code)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["auth.refresh_reused"] * 3 + ["ok"]


def test_logout_ends_the_session_of_either_cookie_and_forgives_nonsense(
    database: Database, tokens: Tokens, alice
) -> None:
    sessions.logout(database, "nonsense", None, NOW)
    sessions.logout(database, None, None, NOW)
    signed = login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    sessions.logout(database, signed.session_token, None, NOW)
    with pytest.raises(errors.Unauthenticated):
        _principal(database, tokens, signed)
    with pytest.raises(errors.Unauthenticated):
        refresh(database, tokens, signed.refresh_token, now=NOW)


def test_a_weak_stored_hash_is_replaced_at_the_next_sign_in(
    database: Database, tokens: Tokens, alice
) -> None:
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    weak = Argon2id(
        salt=b"0" * 16, length=32, iterations=1, lanes=1, memory_cost=1024
    ).derive_phc_encoded(PASSWORD.encode())
    _run(database, "UPDATE users SET password_hash = :hash", hash=weak)
    login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)
    (row,) = _sql(database, "SELECT password_hash FROM users")
    assert row["password_hash"].startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    login(database, tokens, VAULT, "alice", PASSWORD, now=NOW)


def test_a_user_needs_a_free_name_an_address_and_a_password_of_its_length(
    database: Database, alice
) -> None:
    for name, email, password, code in (
        ("alice", "other@example.org", PASSWORD, "users.taken"),
        ("bob", "ALICE@example.org", PASSWORD, "users.email_taken"),
        ("", "b@example.org", PASSWORD, "validation.field_invalid"),
        ("a\nb", "b@example.org", PASSWORD, "validation.field_invalid"),
        ("b" * 257, "b@example.org", PASSWORD, "validation.field_invalid"),
        ("bob", "nowhere", PASSWORD, "validation.field_invalid"),
        ("bob", "b@example.org", "short", "auth.password_policy"),
        ("bob", "b@example.org", "x" * 129, "auth.password_policy"),
        ("bob", "b@example.org", "Baseball1", "auth.password_policy"),
    ):
        with pytest.raises(errors.Rejected) as refused:
            users.create(database, name, email, password)
        assert refused.value.code == code
        assert password not in refused.value.message
    with pytest.raises(errors.InvalidInput) as unknown:
        users.create(database, "bob", "b@example.org", PASSWORD, role="no_such_role")
    assert unknown.value.code == "users.unknown_role"
    assert users.find(database, "bob") is None


def test_an_admin_is_made_on_a_fresh_database_with_a_long_password(database: Database) -> None:
    with pytest.raises(errors.InvalidInput, match="15 to 128"):
        users.create_admin(database, "root", "root@example.org", "fourteen chars")
    admin = users.create_admin(database, "root", "root@example.org", "fifteen chars!!")
    assert admin.role == "admin"
    signed_permissions = _sql(database, "SELECT permissions FROM roles WHERE id = 'admin'")
    assert set(signed_permissions[0]["permissions"]) == {str(p) for p in Permission}


def test_built_in_roles_are_mended_and_left_alone_when_right(database: Database) -> None:
    roles.ensure_built_in(database)
    before = _sql(database, "SELECT id, xmin::text FROM roles ORDER BY id")
    roles.ensure_built_in(database)
    assert _sql(database, "SELECT id, xmin::text FROM roles ORDER BY id") == before
    _run(database, "UPDATE roles SET permissions = '{}' WHERE id = 'viewer'")
    roles.ensure_built_in(database)
    (row,) = _sql(database, "SELECT permissions FROM roles WHERE id = 'viewer'")
    assert "host:read" in row["permissions"]


def test_a_full_queue_of_hashes_is_refused_before_hashing(monkeypatch) -> None:
    monkeypatch.setattr(passwords, "_admitted", threading.BoundedSemaphore(1))
    with passwords.turn(), pytest.raises(errors.Overloaded) as refused:
        passwords.is_right("x", None)
    assert refused.value.retryable
    assert not passwords.is_right("x", None)
