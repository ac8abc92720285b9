"""Hosts with their periods, credentials and host keys on a real database."""

from __future__ import annotations

import itertools
import os
import threading
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from openwatch import errors, ids
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Facts
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.fleet import credentials, facts, host_keys, hosts, targets
from openwatch.fleet.credentials import NewCredential
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, KeyState, Scope, Secrets, Transport
from openwatch.ssh.keys import host_key
from openwatch.ssh.types import Privilege
from openwatch.vault import Vault

WEB = NewHost(hostname="web-1", ip_address="192.0.2.7", tags=("a", "b", "a"))


@pytest.fixture
def vault() -> Vault:
    return Vault([b"k" * 32])


def _private_key(passphrase: bytes | None = None) -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption(),
    )
    return pem.decode()


def _sql(database: Database, text: str, **values: Any) -> list[dict[str, Any]]:
    return database.rows(Query("test", "test", text), **values)


def _periods(database: Database, key: int) -> list[dict[str, Any]]:
    return _sql(
        database,
        "SELECT f.*, f.until = 'infinity' AS is_open FROM host_facts f WHERE host = :key ORDER BY since",
        key=key,
    )


def _system(**changes: Any) -> NewCredential:
    values: dict[str, Any] = {
        "scope": Scope.SYSTEM,
        "name": "default",
        "username": "scanner",
        "auth_method": AuthMethod.PASSWORD,
        "secrets": Secrets(password="hunter2-secret"),
        "is_default": True,
    }
    return NewCredential(**(values | changes))


def test_a_host_is_added_found_changed_and_removed(database: Database) -> None:
    added = hosts.create(database, WEB, scope=EVERYTHING)
    assert added.tags == ("a", "b")
    assert added.port == 22
    assert added.transport is Transport.SSH
    assert hosts.get(database, added.id, scope=EVERYTHING) == added
    assert hosts.by_key(database, added.key) == added
    changed = hosts.change(
        database,
        added.id,
        {"ip_address": "2001:DB8::1", "display_name": "Web", "tags": ["c"]},
        scope=EVERYTHING,
    )
    assert changed.ip_address == "2001:db8::1"
    assert changed.updated_at > added.updated_at
    assert hosts.listed(database, tag="c", scope=EVERYTHING) == (changed,)
    assert hosts.listed(database, tag="a", scope=EVERYTHING) == ()
    assert hosts.listed(database, environment="production", scope=EVERYTHING) == (changed,)
    assert hosts.listed(database, environment="lab", scope=EVERYTHING) == ()
    hosts.remove(database, added.id, scope=EVERYTHING)
    assert hosts.listed(database, scope=EVERYTHING) == ()
    for attempt in (hosts.get, hosts.remove):
        with pytest.raises(errors.NotFound) as refused:
            attempt(database, added.id, scope=EVERYTHING)
        assert refused.value.code == "hosts.not_found"
    again = hosts.create(database, WEB, scope=EVERYTHING)
    assert again.key != added.key


def test_what_a_host_was_is_kept_as_periods_without_gaps(database: Database) -> None:
    host = hosts.create(database, WEB, scope=EVERYTHING)
    hosts.change(
        database, host.id, {"port": 2222}, scope=EVERYTHING
    )  # says nothing about what the host is
    hosts.change(
        database, host.id, {"environment": "lab", "display_name": "Web"}, scope=EVERYTHING
    )
    hosts.change(database, host.id, {"environment": "lab"}, scope=EVERYTHING)  # no change
    assert facts.store(database, host.key, Facts(family="debian", version="12", like=("x\0",)))
    assert not facts.store(
        database, host.key, Facts(family="debian", version="12", like=("x",))
    )
    hosts.remove(database, host.id, scope=EVERYTHING)
    periods = _periods(database, host.key)
    assert [(p["name"], p["environment"], p["os_family"], p["deleted"]) for p in periods] == [
        ("web-1", "production", None, False),
        ("Web", "lab", None, False),
        ("Web", "lab", "debian", False),
        ("Web", "lab", "debian", True),
    ]
    assert all(a["until"] == b["since"] for a, b in itertools.pairwise(periods))
    assert [p["is_open"] for p in periods] == [False, False, False, True]


def test_periods_stay_in_order_within_one_transaction(database: Database) -> None:
    host = hosts.create(database, WEB, scope=EVERYTHING)
    with database.atomic():
        for number in range(20):
            hosts.change(database, host.id, {"environment": f"e{number}"}, scope=EVERYTHING)
    periods = _periods(database, host.key)
    assert len(periods) == 21
    assert all(p["since"] < p["until"] for p in periods[:-1])


def test_concurrent_changes_of_one_host_leave_one_open_period(database: Database) -> None:
    host = hosts.create(database, WEB, scope=EVERYTHING)

    def work(name: int) -> None:
        with database.scope():
            for number in range(10):
                hosts.change(
                    database, host.id, {"environment": f"e{name}-{number}"}, scope=EVERYTHING
                )

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    periods = _periods(database, host.key)
    assert len(periods) == 31
    assert sum(p["is_open"] for p in periods) == 1
    assert all(a["until"] == b["since"] for a, b in itertools.pairwise(periods))
    assert (
        periods[-1]["environment"] == hosts.get(database, host.id, scope=EVERYTHING).environment
    )


def test_a_name_is_taken_once_an_environment(database: Database) -> None:
    hosts.create(database, WEB, scope=EVERYTHING)
    other = hosts.create(
        database, NewHost("web-1", "192.0.2.7", environment="lab"), scope=EVERYTHING
    )
    with pytest.raises(errors.Conflict) as refused:
        hosts.create(database, WEB, scope=EVERYTHING)
    assert refused.value.code == "hosts.duplicate"
    with pytest.raises(errors.Conflict) as refused:
        hosts.change(database, other.id, {"environment": "production"}, scope=EVERYTHING)
    assert refused.value.code == "hosts.duplicate"
    assert hosts.get(database, other.id, scope=EVERYTHING).environment == "lab"
    assert len(_periods(database, other.key)) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hostname", ""),
        ("hostname", "x" * 257),
        ("hostname", "a\nb"),
        ("hostname", "a\0b"),
        ("ip_address", "web-1"),
        ("ip_address", ""),
        ("ip_address", "192.0.2.0/24"),
        ("ip_address", "fe80::1%eth0"),
        ("port", 0),
        ("port", 65536),
        ("environment", ""),
        ("description", "x" * 1025),
        ("description", "\0"),
        ("tags", ("x" * 65,)),
        ("tags", tuple(str(n) for n in range(65))),
        ("username", "a\tb"),
    ],
)
def test_a_host_that_makes_no_sense_is_refused(
    database: Database, field: str, value: Any
) -> None:
    import msgspec

    with pytest.raises(errors.InvalidInput) as refused:
        hosts.create(database, msgspec.structs.replace(WEB, **{field: value}), scope=EVERYTHING)
    assert refused.value.code == "hosts.invalid_input"
    assert refused.value.detail["field"] == field


def test_nothing_but_the_named_fields_can_be_changed(database: Database) -> None:
    host = hosts.create(database, WEB, scope=EVERYTHING)
    for field in ("transport", "hostname", "key", "created_by"):
        with pytest.raises(errors.InvalidInput):
            hosts.change(database, host.id, {field: "local"}, scope=EVERYTHING)


def test_secrets_are_sealed_to_their_row_and_column(database: Database, vault: Vault) -> None:
    first = credentials.create(database, vault, _system(), scope=EVERYTHING)
    second = credentials.create(
        database, vault, _system(name="other", is_default=False), scope=EVERYTHING
    )
    stored = str(_sql(database, "SELECT c::text FROM credentials c"))
    assert "hunter2-secret" not in stored
    assert b"hunter2-secret".hex() not in stored
    assert credentials.opened(database, vault, first.id).password == "hunter2-secret"
    _sql(
        database,
        """UPDATE credentials SET encrypted_password =
           (SELECT encrypted_password FROM credentials WHERE id = :first) WHERE id = :second
           RETURNING 1""",
        first=first.id,
        second=second.id,
    )
    with pytest.raises(errors.SecretUnreadable):
        credentials.opened(database, vault, second.id)
    with pytest.raises(errors.SecretUnreadable, match=r"credential\.key"):
        credentials.opened(database, Vault([b"z" * 32]), first.id)
    assert "hunter2" not in repr(_system())


def test_a_private_key_is_described_and_only_what_the_method_uses_is_kept(
    database: Database, vault: Vault
) -> None:
    made = credentials.create(
        database,
        vault,
        _system(
            auth_method=AuthMethod.SSH_KEY,
            secrets=Secrets("unused-password", _private_key(b"open sesame"), "open sesame"),
        ),
        scope=EVERYTHING,
    )
    assert made.ssh_key_type == "ed25519"
    assert made.ssh_key_bits == 256
    assert (made.ssh_key_fingerprint or "").startswith("SHA256:")
    opened = credentials.opened(database, vault, made.id)
    assert opened.password is None
    assert opened.passphrase == "open sesame"


def test_credentials_that_make_no_sense_are_refused_without_a_secret(
    database: Database, vault: Vault
) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key = AuthMethod.SSH_KEY
    host = hosts.create(database, WEB, scope=EVERYTHING)
    for new, code in (
        (_system(secrets=Secrets()), "credentials.missing_secret"),
        (_system(auth_method=key), "credentials.missing_secret"),
        (_system(auth_method=AuthMethod.BOTH), "credentials.missing_secret"),
        (_system(auth_method=key, secrets=Secrets(private_key="x")), "credentials.invalid_key"),
        (
            _system(auth_method=key, secrets=Secrets(private_key=weak.decode())),
            "credentials.invalid_key",
        ),
        (
            _system(
                auth_method=key,
                secrets=Secrets(private_key=_private_key(b"right"), passphrase="wrong-phrase"),
            ),
            "credentials.invalid_key",
        ),
        (_system(scope=Scope.HOST), "credentials.invalid_scope"),
        (_system(scope_id=host.id), "credentials.invalid_scope"),
        (_system(scope=Scope.HOST, scope_id=ids.new_id()), "credentials.host_not_found"),
        (_system(name=""), "validation.field_invalid"),
        (_system(username="a\nb"), "validation.field_invalid"),
    ):
        with pytest.raises(errors.InvalidInput) as refused:
            credentials.create(database, vault, new, scope=EVERYTHING)
        assert refused.value.code == code
        assert "hunter2" not in refused.value.message
        assert "wrong-phrase" not in refused.value.message
    assert credentials.listed(database, scope=EVERYTHING)[0] == ()
    credentials.create(database, vault, _system(), scope=EVERYTHING)
    with pytest.raises(errors.Conflict) as conflict:
        credentials.create(database, vault, _system(name="second"), scope=EVERYTHING)
    assert conflict.value.code == "credentials.multiple_system_defaults"


def test_a_host_uses_its_own_newest_credential_or_the_default_as_a_whole(
    database: Database, vault: Vault
) -> None:
    host = hosts.create(database, WEB, scope=EVERYTHING)
    assert credentials.resolve(database, host.id, scope=EVERYTHING) is None
    with pytest.raises(errors.NoCredential, match="web-1"):
        targets.target(database, vault, host.key, Config())
    credentials.create(
        database, vault, _system(name="no default", is_default=False), scope=EVERYTHING
    )
    assert credentials.resolve(database, host.id, scope=EVERYTHING) is None
    default = credentials.create(database, vault, _system(), scope=EVERYTHING)
    assert credentials.resolve(database, host.id, scope=EVERYTHING) == default
    for name in ("old", "new"):
        own = credentials.create(
            database,
            vault,
            _system(
                scope=Scope.HOST,
                scope_id=host.id,
                name=name,
                username="root",
                auth_method=AuthMethod.SSH_KEY,
                secrets=Secrets(private_key=_private_key()),
                is_default=False,
            ),
            scope=EVERYTHING,
        )
    assert credentials.resolve(database, host.id, scope=EVERYTHING) == own
    target = targets.target(database, vault, host.key, Config())
    assert target.login.password is None
    assert target.login.username == "root"
    assert target.privilege is Privilege.ROOT
    hosts.change(database, host.id, {"username": "ops"}, scope=EVERYTHING)
    target = targets.target(database, vault, host.key, Config())
    assert target.login.username == "ops"
    assert target.privilege is Privilege.SUDO
    assert "PRIVATE KEY" not in repr(target)
    assert not target.local


def test_this_machine_is_a_target_only_where_the_configuration_permits(
    database: Database, vault: Vault
) -> None:
    host = hosts.create(database, WEB, transport=Transport.LOCAL, scope=EVERYTHING)
    with pytest.raises(errors.TransportRefused, match=r"scan\.allow_local"):
        targets.target(database, vault, host.key, Config())
    target = targets.target(database, vault, host.key, Config(scan=Scan(allow_local=True)))
    assert target.local
    assert target.privilege is (Privilege.ROOT if os.geteuid() == 0 else Privilege.NONE)


def test_a_host_key_waits_for_a_decision_and_a_new_one_takes_its_place(
    database: Database,
) -> None:
    host = hosts.create(database, WEB, scope=EVERYTHING)
    first, second, other = (
        host_key(kind, body)
        for kind, body in (("ssh-ed25519", b"1"), ("ssh-ed25519", b"2"), ("ssh-rsa", b"3"))
    )
    for _ in range(2):
        host_keys.seen(database, host.key, first)
    assert [k.state for k in host_keys.listed(database, host.id, scope=EVERYTHING)[0]] == [
        KeyState.PENDING
    ]
    assert host_keys.approved(database, host.key) == ()
    with pytest.raises(errors.NotFound):
        host_keys.approve(database, host.id, second.fingerprint, "ann", scope=EVERYTHING)
    assert (
        host_keys.approve(
            database, host.id, first.fingerprint, "ann", scope=EVERYTHING
        ).decided_by
        == "ann"
    )
    assert host_keys.approved(database, host.key) == (first,)
    host_keys.seen(database, host.key, second)
    host_keys.seen(database, host.key, other)
    assert host_keys.approved(database, host.key) == (first,)
    host_keys.approve(database, host.id, other.fingerprint, "ann", scope=EVERYTHING)
    host_keys.approve(database, host.id, second.fingerprint, "ann", scope=EVERYTHING)
    assert host_keys.approved(database, host.key) == (second, other)
    states = {
        k.fingerprint: k.state for k in host_keys.listed(database, host.id, scope=EVERYTHING)[0]
    }
    assert states[first.fingerprint] is KeyState.ROTATED
    host_keys.reject(database, host.id, second.fingerprint, "ann", scope=EVERYTHING)
    host_keys.seen(database, host.key, second)
    assert host_keys.approved(database, host.key) == (other,)


def test_policy_trusts_the_first_key_of_a_host_and_no_other(database: Database) -> None:
    host = hosts.create(database, WEB, scope=EVERYTHING)
    first, second = host_key("ssh-ed25519", b"1"), host_key("ssh-rsa", b"2")
    host_keys.seen(database, host.key, first, trust_first=True)
    host_keys.seen(database, host.key, second, trust_first=True)
    assert host_keys.approved(database, host.key) == (first,)
    stored = {
        k.fingerprint: k for k in host_keys.listed(database, host.id, scope=EVERYTHING)[0]
    }
    assert "trust_first" in (stored[first.fingerprint].decided_by or "")
    host_keys.reject(database, host.id, first.fingerprint, "ann", scope=EVERYTHING)
    host_keys.seen(database, host.key, first, trust_first=True)
    assert host_keys.approved(database, host.key) == ()
    host_keys.seen(database, host.key, host_key("ssh-rsa", b"3"), trust_first=True)
    assert host_keys.approved(database, host.key) == ()
    assert not host_keys.may_trust_first(database, host.key)
