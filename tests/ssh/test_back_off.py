"""A password that a host refused is not sent again within the hour, whichever worker scans next."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.fleet import credentials, hosts, targets
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, Host, Scope, Secrets
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.rules.load import load
from openwatch.scans import store
from openwatch.scans.jobs import Scanner
from openwatch.ssh.types import Privilege
from openwatch.vault import Vault
from tests.ssh.machine import Sshd, make_key

MakeUser = Callable[..., Any]
TYPED = Query(
    "typed",
    "the uses of a password for sudo that the trail knows",
    "SELECT outcome, detail ->> 'host_id' AS host_id, detail::text AS detail FROM audit_events"
    " WHERE action = 'system.intelligence.sudo_password_used' ORDER BY number",
)
_AN_HOUR_PASSES = Query(
    "earlier",
    "as if an hour had passed",
    "UPDATE login_refusals SET refused_at = refused_at - interval '1 hour'",
)


class Fleet:
    """One host, the sshd, and the server that scans it."""

    def __init__(self, db: Database, sshd: Sshd, *, sudo_password: bool = False) -> None:
        self.db = db
        self.vault = Vault([os.urandom(32)])
        self.config = Config(scan=Scan(sudo_password=sudo_password, trust_first_host_key=True))
        new = NewHost(hostname="testhost", ip_address="127.0.0.1", port=sshd.port)
        self.host: Host = hosts.create(db, new, scope=EVERYTHING)
        self.scanner = Scanner(
            db=db,
            vault=self.vault,
            config=self.config,
            corpus=load(),
            signer=signer(db, self.vault),
        )

    def store(
        self, username: str, password: str | None = None, private_key: str | None = None
    ) -> None:
        """Store the host's newest credential."""
        methods = {
            (True, False): AuthMethod.PASSWORD,
            (False, True): AuthMethod.SSH_KEY,
            (True, True): AuthMethod.BOTH,
        }
        credentials.create(
            self.db,
            self.vault,
            credentials.NewCredential(
                scope=Scope.HOST,
                scope_id=self.host.id,
                name=f"credential {time.monotonic_ns()}",
                username=username,
                auth_method=methods[password is not None, private_key is not None],
                secrets=Secrets(password=password, private_key=private_key),
            ),
            scope=EVERYTHING,
        )

    def scan(self) -> None:
        """Scan it once; raise what keeps it from being asked."""
        store.request(
            self.db,
            self.host.id,
            trigger=store.Trigger.ON_DEMAND,
            correlation_id="test",
            scope=EVERYTHING,
        )
        claim = queue.claim(self.db, "this-worker", [store.JOB], 60)
        assert claim is not None
        try:
            self.scanner.scan(claim)
        except errors.HostError as failure:
            with self.db.atomic():
                self.scanner.bury(queue.fail(self.db, claim, failure.message, retryable=False))
            raise


def test_a_refused_login_password_is_sent_once_an_hour(
    database: Database, sshd: Sshd, make_user: MakeUser
) -> None:
    user = make_user()
    user.may("NOPASSWD: ALL")
    fleet = Fleet(database, sshd)
    fleet.store(user.name, "not the password")

    before = len(sshd.log())
    with pytest.raises(errors.LoginRefused):
        fleet.scan()
    connections = sshd.log()[before:].count("Connection from")
    with pytest.raises(errors.LoginHeldBack, match="not tried again before") as held:
        fleet.scan()
    assert held.value.detail["reason"] == "host.ssh_authentication_failed"
    assert "not the password" not in held.value.message
    time.sleep(0.2)
    assert sshd.log()[before:].count("Connection from") == connections, "no connection was made"
    assert sshd.log()[before:].count("Failed password") == 1

    database.run(_AN_HOUR_PASSES)
    with pytest.raises(errors.LoginRefused):
        fleet.scan()

    fleet.store(user.name, user.password)
    fleet.scan()


def test_a_refused_sudo_password_is_sent_once_an_hour(
    database: Database, sshd: Sshd, make_user: MakeUser
) -> None:
    user = make_user()
    user.may("ALL")
    fleet = Fleet(database, sshd, sudo_password=True)
    fleet.store(user.name, "not the password", sshd.private_key)
    with pytest.raises(errors.PrivilegeRefused, match="did not accept"):
        fleet.scan()
    with pytest.raises(errors.LoginHeldBack, match="privilege_denied"):
        fleet.scan()
    assert user.refusals() == 1

    fleet.store(user.name, user.password, sshd.private_key)
    fleet.scan()
    assert user.refusals() == 1
    typed = database.rows(TYPED)
    assert [(row["outcome"], row["host_id"]) for row in typed] == [
        ("failure", str(fleet.host.id)),
        ("success", str(fleet.host.id)),
    ]
    assert user.password not in str(typed)


def test_policy_says_whether_sudo_may_get_the_password(
    database: Database, sshd: Sshd, make_user: MakeUser
) -> None:
    user = make_user()
    user.may("ALL")
    fleet = Fleet(database, sshd)
    fleet.store(user.name, user.password)
    target = targets.target(database, fleet.vault, fleet.host.key, fleet.config)
    assert (target.privilege, target.sudo_password) == (Privilege.SUDO, None)
    with pytest.raises(errors.PrivilegeRefused, match="a password is required"):
        fleet.scan()
    with pytest.raises(errors.PrivilegeRefused):
        fleet.scan()  # no password was refused, so nothing is held back
    assert user.refusals() == 0


def test_a_refused_key_holds_nothing_back(
    database: Database, sshd: Sshd, tmp_path: Any
) -> None:
    fleet = Fleet(database, sshd)
    fleet.store(sshd.user, private_key=make_key(tmp_path / "key", "-t", "ed25519"))
    for _ in range(2):
        with pytest.raises(errors.LoginRefused, match="authorized_keys"):
            fleet.scan()
