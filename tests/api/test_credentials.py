"""Credentials over HTTP: what goes in never comes out, and changes nothing that was not named."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from openwatch.accounts.types import EVERYTHING
from openwatch.db import Query
from openwatch.fleet import credentials
from openwatch.vault import Vault
from tests.db.test_secrets import everything

PASSWORD = {
    "scope": "system",
    "name": "default",
    "username": "scanner",
    "auth_method": "password",
    "password": "Xq9-login-password",
}
EVENTS = Query(
    "events",
    "what the trail says of credentials",
    "SELECT action, actor_type, resource_id, detail FROM audit_events"
    " WHERE resource_type = 'credential' ORDER BY number",
)
DECIDED = Query(
    "refusal",
    "a password was refused",
    "INSERT INTO login_refusals (host, credential, username, reason)"
    " SELECT key, :credential, 'scanner', 'x' FROM hosts WHERE id = :host",
)
REFUSALS = Query("refusals", "held back", "SELECT count(*) FROM login_refusals")
ROW = Query("row", "the row", "SELECT * FROM credentials WHERE id = :id")


def pem(key: Any, passphrase: str | None = None, form: str = "OpenSSH") -> str:
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    made: bytes = key.private_bytes(
        serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption
    )
    return made.decode()


def new_key(passphrase: str | None = None) -> str:
    return pem(ed25519.Ed25519PrivateKey.generate(), passphrase)


def opened(services, made) -> Any:
    return credentials.opened(services.db, services.vault, made["id"])


def test_a_change_touches_what_it_names_and_keeps_the_rest(admin, services) -> None:
    made = admin("POST", "/credentials", body=PASSWORD | {"description": "for all"}).json
    path = f"/credentials/{made['id']}"
    changed = admin("PATCH", path, body={"username": "auditor", "password": ""})
    assert changed.status_code == 200, changed.text
    assert (changed.json["username"], changed.json["description"]) == ("auditor", "for all")
    assert changed.json["updated_at"] > made["updated_at"]
    assert opened(services, made).password == "Xq9-login-password"
    changed = admin("PATCH", path, body={"password": "Xq9-second", "description": None})
    assert "description" not in changed.json
    assert opened(services, made).password == "Xq9-second"
    assert admin("GET", path).json == changed.json
    actions = [
        (e["action"], e["detail"]["secret_rotated"]) for e in services.db.rows(EVENTS)[1:]
    ]
    assert actions == [("credential.updated", False), ("credential.updated", True)]


def test_a_narrower_method_loses_the_secret_and_a_wider_one_asks_for_it(
    admin, services
) -> None:
    both = PASSWORD | {"auth_method": "both", "private_key": new_key()}
    made = admin("POST", "/credentials", body=both).json
    path = f"/credentials/{made['id']}"
    assert made["ssh_key_type"] == "ed25519"
    narrow = admin("PATCH", path, body={"auth_method": "password"}).json
    assert not [name for name in narrow if name.startswith("ssh_key")]
    row = services.db.row(ROW, id=made["id"])
    assert row["encrypted_private_key"] is None
    wide = admin("PATCH", path, body={"auth_method": "both"})
    assert (wide.status_code, wide.json["error"]["code"]) == (400, "credentials.missing_secret")
    assert wide.json["error"]["detail"] == {"field": "private_key"}
    key = admin("PATCH", path, body={"auth_method": "ssh_key", "private_key": new_key()})
    assert (key.status_code, key.json["ssh_key_type"]) == (200, "ed25519")
    assert opened(services, made).password is None


def test_a_key_and_its_passphrase_stay_a_pair(admin, services) -> None:
    body = PASSWORD | {
        "auth_method": "ssh_key",
        "private_key": new_key("open-sesame"),
        "private_key_passphrase": "open-sesame",
    }
    made = admin("POST", "/credentials", body=body).json
    path = f"/credentials/{made['id']}"
    again = new_key("open-sesame")
    changed = admin("PATCH", path, body={"private_key": again})  # under the passphrase it had
    assert changed.status_code == 200, changed.text
    assert changed.json["ssh_key_fingerprint"] != made["ssh_key_fingerprint"]
    assert opened(services, made).passphrase == "open-sesame"
    wrong = admin("PATCH", path, body={"private_key_passphrase": "not-sesame"})
    assert wrong.json["error"]["code"] == "credentials.invalid_key"
    wrong = admin("PATCH", path, body={"private_key": new_key("another")})
    assert wrong.json["error"]["code"] == "credentials.invalid_key"
    plain = admin("PATCH", path, body={"private_key": new_key()})  # the passphrase goes
    assert plain.status_code == 200, plain.text
    assert opened(services, made).passphrase is None


def test_a_new_default_takes_the_place_of_the_one_there_was(admin, services) -> None:
    first = admin("POST", "/credentials", body=PASSWORD | {"is_default": True}).json
    second = admin("POST", "/credentials", body=PASSWORD | {"name": "second"}).json
    made = admin("PATCH", f"/credentials/{second['id']}", body={"is_default": True})
    assert made.json["is_default"]
    assert not admin("GET", f"/credentials/{first['id']}").json["is_default"]
    told = [(e["action"], e["resource_id"]) for e in services.db.rows(EVENTS)[2:]]
    assert told == [("credential.updated", second["id"]), ("credential.updated", first["id"])]
    third = admin("POST", "/credentials", body=PASSWORD | {"name": "3", "is_default": True})
    assert (third.status_code, third.json["error"]["code"]) == (
        409,
        "credentials.multiple_system_defaults",
    )


def test_what_somebody_has_changed_meanwhile_is_not_overwritten(admin) -> None:
    made = admin("POST", "/credentials", body=PASSWORD).json
    path = f"/credentials/{made['id']}"
    tag = admin("GET", path).headers["ETag"]
    admin("PATCH", path, body={"name": "other"})
    late = admin("PATCH", path, body={"name": "mine"}, headers={"If-Match": tag})
    assert late.status_code == 412
    assert admin("GET", path).json["name"] == "other"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": ""}, 400, "validation.field_invalid"),
        ({"description": "x" * 1025}, 400, "validation.field_invalid"),
        ({"username": "a\nb"}, 400, "validation.field_invalid"),
        ({"auth_method": "telnet"}, 400, "validation.invalid_value"),
        ({"private_key": "nonsense", "auth_method": "both"}, 400, "credentials.invalid_key"),
        ({"name": "taken"}, 409, "resource.conflict"),
    ],
)
def test_a_change_that_cannot_be_is_refused_whole(admin, services, body, status, code) -> None:
    admin("POST", "/credentials", body=PASSWORD | {"name": "taken"})
    made = admin("POST", "/credentials", body=PASSWORD).json
    answer = admin("PATCH", f"/credentials/{made['id']}", body={"username": "new", **body})
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)
    assert admin("GET", f"/credentials/{made['id']}").json == made
    assert len(services.db.rows(EVENTS)) == 2


def test_a_deleted_credential_is_gone_with_its_secrets_and_its_name_is_free(
    admin, services
) -> None:
    made = admin("POST", "/credentials", body=PASSWORD | {"is_default": True}).json
    path = f"/credentials/{made['id']}"
    assert admin("DELETE", path).status_code == 204
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        answer = admin(method, path, body=body)
        assert (answer.status_code, answer.json["error"]["code"]) == (
            404,
            "credentials.not_found",
        )
    assert admin("POST", f"{path}:clone", body={"scope": "system"}).status_code == 404
    row = services.db.row(ROW, id=made["id"])
    assert (row["is_active"], row["encrypted_password"]) == (False, None)
    assert admin("GET", "/credentials").json == {"credentials": []}
    assert (
        admin("POST", "/credentials", body=PASSWORD | {"is_default": True}).status_code == 201
    )
    assert services.db.rows(EVENTS)[1]["action"] == "credential.deleted"


def test_a_copy_opens_in_its_own_row_and_is_a_credential_of_its_own(admin, services) -> None:
    host = admin("POST", "/hosts", body={"hostname": "web-1", "ip_address": "192.0.2.7"}).json
    both = PASSWORD | {"auth_method": "both", "private_key": new_key(), "is_default": True}
    made = admin("POST", "/credentials", body=both).json
    path = f"/credentials/{made['id']}"
    copy = admin("POST", f"{path}:clone", body={"scope": "host", "scope_id": host["id"]})
    assert copy.status_code == 201, copy.text
    assert (copy.json["name"], copy.json["is_default"]) == ("default (clone)", False)
    assert copy.json["ssh_key_fingerprint"] == made["ssh_key_fingerprint"]
    assert opened(services, copy.json) == opened(services, made)
    again = admin("POST", f"{path}:clone", body={"scope": "host", "scope_id": host["id"]}).json
    assert again["name"] == "default (clone 2)"
    assert admin("POST", f"/hosts/{host['id']}/credentials:resolve").json == again
    admin("DELETE", path)
    assert opened(services, copy.json).password == PASSWORD["password"]
    for body, code in (
        ({"scope": "host"}, "credentials.invalid_scope"),
        ({"scope": "system", "scope_id": host["id"]}, "credentials.invalid_scope"),
        ({"scope": "host", "scope_id": made["id"]}, "credentials.host_not_found"),
    ):
        answer = admin("POST", f"/credentials/{again['id']}:clone", body=body)
        assert (answer.status_code, answer.json["error"]["code"]) == (400, code)


def test_hosts_that_refused_the_old_password_are_asked_again_with_the_new_one(
    admin, services
) -> None:
    host = admin("POST", "/hosts", body={"hostname": "web-1", "ip_address": "192.0.2.7"}).json
    made = admin("POST", "/credentials", body=PASSWORD).json
    services.db.run(DECIDED, credential=made["id"], host=host["id"])
    admin("PATCH", f"/credentials/{made['id']}", body={"name": "other"})
    assert services.db.value(REFUSALS) == 1
    admin("PATCH", f"/credentials/{made['id']}", body={"password": "Xq9-right"})
    assert services.db.value(REFUSALS) == 0


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            lambda: pem(rsa.generate_private_key(65537, 1024), form="PKCS8"),
            "1024 bits is too weak",
        ),
        (
            lambda: pem(dsa.generate_private_key(2048), form="TraditionalOpenSSL"),
            "DSA key is not supported",
        ),
        (lambda: pem(ec.generate_private_key(ec.SECP192R1()), form="PKCS8"), "not supported"),
        (lambda: "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "PuTTY key"),
        (lambda: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@here", "public key"),
        (lambda: "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", "public key"),
        (lambda: new_key("open-sesame"), "give its passphrase"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_in_plain_words(admin, key, said: str) -> None:
    body = PASSWORD | {"auth_method": "ssh_key", "private_key": key()}
    answer = admin("POST", "/credentials", body=body)
    assert (answer.status_code, answer.json["error"]["code"]) == (
        400,
        "credentials.invalid_key",
    )
    assert said in answer.json["error"]["human_message"]


@pytest.mark.parametrize(
    "key",
    [
        lambda: pem(rsa.generate_private_key(65537, 2048), form="TraditionalOpenSSL"),
        lambda: pem(ec.generate_private_key(ec.SECP256R1()), form="PKCS8"),
        lambda: pem(ec.generate_private_key(ec.SECP384R1())),
        new_key,
    ],
)
def test_a_key_that_is_strong_enough_is_taken_in_every_form(admin, key) -> None:
    body = PASSWORD | {"auth_method": "ssh_key", "private_key": key()}
    assert admin("POST", "/credentials", body=body).status_code == 201


def test_no_secret_is_in_an_answer_the_log_the_trail_or_anywhere_in_the_database(
    admin, services, dsn, caplog
) -> None:
    key = new_key("Xq9-passphrase")
    both = PASSWORD | {
        "auth_method": "both",
        "private_key": key,
        "private_key_passphrase": "Xq9-passphrase",
    }
    headers = {"Idempotency-Key": "once"}
    with caplog.at_level(logging.DEBUG):
        made = admin("POST", "/credentials", body=both, headers=headers)
        path = f"/credentials/{made.json['id']}"
        answers = [
            made,
            admin(
                "PATCH", path, body={"password": "Xq9-next"}, headers={"Idempotency-Key": "2"}
            ),
            admin("PATCH", path, body={"private_key_passphrase": "Xq9-not-it"}),
            admin("PATCH", path, body={"password": 7}),
            admin("POST", f"{path}:clone", body={"scope": "system"}),
            admin("GET", path),
            admin("GET", "/credentials"),
            admin("GET", "/audit/events"),
        ]
    told = "".join(answer.text for answer in answers) + caplog.text
    told += str([vars(record) for record in caplog.records])
    body = key.split("\n")[3]
    assert "Xq9" not in told
    assert body not in told
    stored = everything(services.db, dsn)
    assert b"Xq9" not in stored
    assert body.encode() not in stored


def test_a_credential_whose_key_is_lost_says_so_and_can_be_given_again(admin, services) -> None:
    host = admin("POST", "/hosts", body={"hostname": "web-1", "ip_address": "192.0.2.7"}).json
    made = admin("POST", "/credentials", body=PASSWORD | {"is_default": True}).json
    assert made["is_readable"]
    services.vault.use([b"n" * 32])
    path = f"/credentials/{made['id']}"
    assert not admin("GET", path).json["is_readable"]
    assert not admin("GET", "/credentials").json["credentials"][0]["is_readable"]
    assert not admin("POST", f"/hosts/{host['id']}/credentials:resolve").json["is_readable"]
    copy = admin("POST", f"{path}:clone", body={"scope": "system"})
    assert (copy.status_code, copy.json["error"]["code"]) == (409, "credentials.unreadable")
    assert admin("PATCH", path, body={"name": "renamed"}).status_code == 200
    given = admin("PATCH", path, body={"password": "Xq9-again"})
    assert given.json["is_readable"]
    assert opened(services, made).password == "Xq9-again"


def test_a_value_sealed_with_a_replaced_key_is_refused_and_worth_a_repetition(
    admin, services
) -> None:
    from openwatch.keys import sealed

    sealed.retire(services.db, services.vault.primary)
    late = admin("POST", "/credentials", body=PASSWORD)
    assert (late.status_code, late.json["error"]["retryable"]) == (503, True)
    services.vault.use([b"n" * 32])
    assert admin("POST", "/credentials", body=PASSWORD).status_code == 201
    assert credentials.listed(services.db, scope=EVERYTHING)[0][0].sealed_with == (
        Vault([b"n" * 32]).primary,
    )
