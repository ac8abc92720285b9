"""The second factor over HTTP: enrolled, proved, replayed, lost."""

from __future__ import annotations

import base64
import datetime as dt
import threading
import urllib.parse
from typing import Any

import pytest

from openwatch import clock, errors, ids
from openwatch.accounts import mfa, policy, totp, users
from openwatch.accounts.permissions import Permission
from openwatch.audit.types import SYSTEM
from openwatch.db import Query
from openwatch.vault import Vault

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
PASSWORD = "correct horse battery"
EVENTS = Query(
    "events",
    "what the trail says of second factors",
    "SELECT action, outcome, resource_id, detail, actor_label FROM audit_events"
    " WHERE action LIKE 'auth.mfa.%' ORDER BY number",
)
SECRETS = Query("secrets", "all of them", "SELECT encrypted_secret FROM auth_mfa_secrets")


class Clock:
    """Stands still until told to go on."""

    def __init__(self) -> None:
        self.instant = clock.now()

    def __call__(self) -> dt.datetime:
        return self.instant

    def later(self, seconds: float = 30) -> None:
        self.instant += dt.timedelta(seconds=seconds)


@pytest.fixture
def time(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(clock, "now", found)
    return found


@pytest.fixture
def alice(services) -> users.User:
    return users.create(services.db, "alice", "alice@example.org", PASSWORD, role="viewer")


@pytest.fixture
def sign_in(anonymous):
    def post(otp: str | None = None) -> Any:
        body = {"username": "alice", "password": PASSWORD}
        return anonymous(
            "POST", "/auth/login", body=body if otp is None else body | {"otp": otp}
        )

    return post


@pytest.fixture
def as_alice(anonymous, sign_in, alice):
    """Call the API as alice, signed in with what is given."""

    def start(otp: str | None = None) -> Any:
        answer = sign_in(otp)
        assert answer.status_code == 200, answer.text
        bearer = {"Authorization": f"Bearer {answer.json['access_token']}"}
        return lambda method, path, body=None: anonymous(
            method, path, body=body, headers=bearer
        )

    return start


def secret_of(answer: Any) -> bytes:
    assert answer.status_code == 200, answer.text
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.json["provisioning_uri"]).query)
    return base64.b32decode(query["secret"][0])


def shown(secret: bytes, instant: dt.datetime) -> str:
    return totp.code(secret, totp.step_of(instant))


def code_of(answer: Any) -> str:
    return str(answer.json["error"]["code"])


@pytest.fixture
def enrolled(as_alice, time):
    """Alice with a factor in force, the session that set it up, and the next code not used."""
    call = as_alice()
    secret = secret_of(call("POST", "/auth/mfa:enroll"))
    done = call("POST", "/auth/mfa:verify", {"otp": shown(secret, time())})
    assert done.status_code == 204, done.text
    time.later()
    return call, secret


def test_a_factor_is_asked_for_from_its_proof_on(as_alice, sign_in, time, services) -> None:
    call = as_alice()
    assert call("GET", "/auth/mfa").json == {"state": "none", "recovery_codes_left": 0}
    secret = secret_of(call("POST", "/auth/mfa:enroll"))
    assert call("GET", "/auth/mfa").json["state"] == "pending"
    assert sign_in().status_code == 200, "what is pending locks nobody out"
    wrong = call("POST", "/auth/mfa:verify", {"otp": "000000"})
    assert (wrong.status_code, code_of(wrong)) == (401, "auth.mfa_invalid")
    assert call("POST", "/auth/mfa:verify", {"otp": shown(secret, time())}).status_code == 204
    assert call("GET", "/auth/mfa").json["state"] == "enrolled"
    time.later()
    without = sign_in()
    assert (without.status_code, code_of(without)) == (401, "auth.mfa_required")
    assert not without.cookies
    assert code_of(sign_in("000000")) == "auth.mfa_invalid"
    assert sign_in(shown(secret, time())).status_code == 200
    assert [event["action"] for event in services.db.rows(EVENTS)] == [
        "auth.mfa.enrolled", "auth.mfa.failed", "auth.mfa.validated",
        "auth.mfa.failed", "auth.mfa.validated",
    ]  # fmt: skip
    assert {e["actor_label"] for e in services.db.rows(EVENTS)} == {"alice"}


def test_a_code_counts_once_also_for_its_neighbours(enrolled, sign_in, time) -> None:
    _, secret = enrolled
    code = shown(secret, time())
    assert sign_in(code).status_code == 200
    assert code_of(sign_in(code)) == "auth.mfa_invalid"
    before = shown(secret, time() - dt.timedelta(seconds=30))
    assert code_of(sign_in(before)) == "auth.mfa_invalid"
    after = shown(secret, time() + dt.timedelta(seconds=30))
    assert sign_in(after).status_code == 200


def test_of_two_requests_at_once_with_one_code_one_is_let_in(
    enrolled, alice, services, time
) -> None:
    _, secret = enrolled
    code, ready, results = shown(secret, time()), threading.Barrier(4), []

    def attempt() -> None:
        with services.db.scope():
            ready.wait()
            results.append(mfa.verify(services.db, services.vault, alice.id, code, time()))

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, False, False, True]


@pytest.mark.parametrize(
    ("off", "is_right"), [(-60, False), (-30, True), (30, True), (60, False)]
)
def test_a_code_may_be_one_step_off(alice, services, time, off: int, is_right: bool) -> None:
    db, vault = services.db, services.vault
    secret = secret_of_uri(mfa.enrol(db, vault, alice.id, time(), actor=SYSTEM))
    later = time() + dt.timedelta(seconds=off)
    assert _confirms(db, vault, alice, shown(secret, later), time()) is is_right


def secret_of_uri(uri: str) -> bytes:
    return base64.b32decode(
        urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query)["secret"][0]
    )


def _confirms(db, vault, alice, code: str, now: dt.datetime) -> bool:
    try:
        mfa.confirm(db, vault, alice.id, code, session_id=ids.new_id(), now=now, actor=SYSTEM)
    except errors.Unauthenticated:
        return False
    return True


def test_another_enrolment_needs_the_factor_in_force_and_leaves_it_so(
    enrolled, sign_in, time
) -> None:
    call, old = enrolled
    refused = call("POST", "/auth/mfa:enroll")
    assert (refused.status_code, code_of(refused)) == (401, "auth.mfa_required")
    assert code_of(call("POST", "/auth/mfa:enroll", {"otp": "000000"})) == "auth.mfa_invalid"
    new = secret_of(call("POST", "/auth/mfa:enroll", {"otp": shown(old, time())}))
    assert call("GET", "/auth/mfa").json["state"] == "enrolled"
    time.later()
    assert code_of(sign_in(shown(new, time()))) == "auth.mfa_invalid"
    assert sign_in(shown(old, time())).status_code == 200
    time.later()
    assert call("POST", "/auth/mfa:verify", {"otp": shown(new, time())}).status_code == 204
    time.later()
    assert code_of(sign_in(shown(old, time()))) == "auth.mfa_invalid"
    assert sign_in(shown(new, time())).status_code == 200


def test_setting_up_a_factor_ends_the_other_sign_ins(as_alice, time) -> None:
    other, call = as_alice(), as_alice()
    secret = secret_of(call("POST", "/auth/mfa:enroll"))
    assert other("GET", "/auth/me").status_code == 200
    assert call("POST", "/auth/mfa:verify", {"otp": shown(secret, time())}).status_code == 204
    assert other("GET", "/auth/me").status_code == 401
    (left,) = call("GET", "/auth/sessions").json["sessions"]
    assert left["factors"] == ["otp", "password"]


def test_a_recovery_code_lets_in_once_and_may_change_the_factor(
    enrolled, sign_in, time
) -> None:
    call, secret = enrolled
    path = "/auth/mfa/recovery-codes:generate"
    assert code_of(call("POST", path, {"otp": "000000"})) == "auth.mfa_invalid"
    answer = call("POST", path, {"otp": shown(secret, time())})
    codes = answer.json["recovery_codes"]
    assert len(set(codes)) == 10
    assert call("GET", "/auth/mfa").json["recovery_codes_left"] == 10
    assert sign_in(codes[0].upper().replace("-", " ")).status_code == 200
    assert code_of(sign_in(codes[0])) == "auth.mfa_invalid"
    assert call("GET", "/auth/mfa").json["recovery_codes_left"] == 9
    secret_of(call("POST", "/auth/mfa:enroll", {"otp": codes[1]}))
    again = call("POST", path, {"otp": codes[2]}).json["recovery_codes"]
    assert not set(codes) & set(again)
    assert code_of(sign_in(codes[3])) == "auth.mfa_invalid", "new codes replace the old ones"


def test_a_factor_is_given_up_against_itself_and_the_policy(enrolled, sign_in, time, services):
    call, secret = enrolled
    assert code_of(call("POST", "/auth/mfa:disable", {"otp": "000000"})) == "auth.mfa_invalid"
    policy.put(services.db, require_mfa=True, idle=900, absolute=3600, actor=SYSTEM, by=None)
    denied = call("POST", "/auth/mfa:disable", {"otp": shown(secret, time())})
    assert (denied.status_code, code_of(denied)) == (403, "policy.denied")
    assert denied.json["error"]["fault"] == "policy"
    policy.put(services.db, require_mfa=False, idle=900, absolute=3600, actor=SYSTEM, by=None)
    assert call("POST", "/auth/mfa:disable", {"otp": shown(secret, time())}).status_code == 204
    assert call("GET", "/auth/mfa").json == {"state": "none", "recovery_codes_left": 0}
    assert sign_in().status_code == 200
    again = call("POST", "/auth/mfa:disable", {"otp": shown(secret, time())})
    assert (again.status_code, code_of(again)) == (409, "auth.mfa_not_enrolled")


def test_who_must_have_a_factor_can_do_nothing_else_first(as_alice, time, services) -> None:
    policy.put(services.db, require_mfa=True, idle=900, absolute=3600, actor=SYSTEM, by=None)
    call = as_alice()
    refused = call("GET", "/hosts")
    assert (refused.status_code, code_of(refused)) == (403, "auth.mfa_required")
    secret = secret_of(call("POST", "/auth/mfa:enroll"))
    assert call("GET", "/hosts").status_code == 403
    assert call("POST", "/auth/mfa:verify", {"otp": shown(secret, time())}).status_code == 204
    assert call("GET", "/hosts").status_code == 200


def test_guessing_codes_locks_the_guesser_out(enrolled, time) -> None:
    call, secret = enrolled
    for _ in range(5):
        call("POST", "/auth/mfa:disable", {"otp": "000000"})
    locked = call("POST", "/auth/mfa:disable", {"otp": shown(secret, time())})
    assert (locked.status_code, code_of(locked)) == (403, "auth.account_locked")


def test_an_administrator_takes_a_lost_factor_away(
    enrolled, alice, sign_in, admin, caller, services
) -> None:
    call, _ = enrolled
    path = f"/users/{alice.id}/mfa:reset"
    lesser = caller([Permission.ADMIN_USER_MANAGE])
    assert code_of(lesser("POST", path)) == "authz.role_exceeds_grant"
    assert admin("POST", path).status_code == 204
    assert call("GET", "/auth/me").status_code == 401
    assert sign_in().status_code == 200
    last = services.db.rows(EVENTS)[-1]
    assert (last["action"], last["resource_id"]) == ("auth.mfa.disabled", str(alice.id))
    unknown = admin("POST", f"/users/{NOBODY}/mfa:reset")
    assert (unknown.status_code, code_of(unknown)) == (404, "users.not_found")


def test_a_factor_that_no_key_opens_lets_nobody_in_but_by_a_recovery_code(
    enrolled, alice, services, time
) -> None:
    call, secret = enrolled
    code = shown(secret, time())
    codes = call("POST", "/auth/mfa/recovery-codes:generate", {"otp": code}).json
    time.later()
    db, lost = services.db, Vault([b"l" * 32])
    with pytest.raises(errors.SecretUnreadable, match="reset-mfa"):
        mfa.verify(db, lost, alice.id, shown(secret, time()), time())
    assert mfa.state(db, alice.id) is mfa.State.ENROLLED
    assert mfa.verify(db, lost, alice.id, codes["recovery_codes"][0], time())


def test_no_secret_and_no_code_is_stored_or_recorded_in_clear(enrolled, time, services) -> None:
    call, secret = enrolled
    code = shown(secret, time())
    made = call("POST", "/auth/mfa/recovery-codes:generate", {"otp": code}).json
    (stored,) = services.db.rows(SECRETS)
    assert secret not in stored["encrypted_secret"]
    told = str(services.db.rows(EVENTS))
    for hidden in (code, base64.b32encode(secret).decode(), *made["recovery_codes"]):
        assert hidden not in told


def test_nobody_resets_their_own_factor(admin) -> None:
    refused = admin("POST", f"/users/{admin.user_id}/mfa:reset")
    assert (refused.status_code, code_of(refused)) == (409, "auth.mfa_reset_own")


@pytest.mark.parametrize("path", ["/auth/mfa:disable", "/auth/mfa/recovery-codes:generate"])
def test_another_sites_page_does_nothing_to_a_factor(anonymous, sign_in, alice, path) -> None:
    cookies = {name: cookie.value for name, cookie in sign_in().cookies.items()}
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    body = {"otp": "000000"}
    refused = anonymous("POST", path, body=body, headers=headers)
    assert (refused.status_code, code_of(refused)) == (403, "authz.csrf_invalid")
    headers["X-CSRF-Token"] = cookies["XSRF-TOKEN"]
    assert (
        code_of(anonymous("POST", path, body=body, headers=headers)) == "auth.mfa_not_enrolled"
    )
