"""From a stored host to what it takes to reach it: the one place where a scan's secret is opened."""

from __future__ import annotations

import os
from uuid import UUID

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.config import Config
from openwatch.db import Database
from openwatch.fleet import backoff, credentials, host_keys, hosts, ways
from openwatch.fleet.types import Host, Transport
from openwatch.ssh.types import Jump, Login, Privilege, Target
from openwatch.vault import Vault

_ROOT = "root"


def target(db: Database, vault: Vault, host: int, config: Config) -> Target:
    """Return what it takes to reach a host (its key in the database), secrets included.

    Raise NotFound for a deleted host, NoCredential, LoginHeldBack, SecretUnreadable, and
    TransportRefused for this machine itself where the configuration does not permit it.
    """
    found = hosts.by_key(db, host)
    if found.transport is Transport.LOCAL:
        return _local(found, config)
    credential, login = _login(db, vault, found)
    # Policy may let sudo ask for the password that logs in; sudo that asks for none gets none.
    sudo_password = login.password if config.scan.sudo_password else None
    privilege = Privilege.SUDO if sudo_password is None else Privilege.SUDO_PASSWORD
    return Target(
        name=found.hostname,
        address=found.ip_address,
        port=found.port,
        login=login,
        known=host_keys.approved(db, host),
        privilege=Privilege.ROOT if login.username == _ROOT else privilege,
        sudo_password=sudo_password,
        trust_first=_may_trust(db, host, config),
        jumps=tuple(_jump(db, vault, found, jump, config) for jump in found.jump_hosts),
        credential=credential,
        hint=ways.hint(found.login_methods),
    )


def _jump(db: Database, vault: Vault, last: Host, jump: UUID, config: Config) -> Jump:
    """Return a host on the way to `last`: reached by its own credential and known by its own keys."""
    try:
        found = hosts.get(db, jump, scope=EVERYTHING)
    except errors.NotFound:
        raise errors.TransportRefused(
            f"the jump host {jump} on the way to it is watched no more; change its jump_hosts",
            host=last.hostname,
        ) from None
    try:
        credential, login = _login(db, vault, found)
    except errors.HostError as failure:
        raise type(failure)(f"jump host {failure.message}", host=last.hostname) from None
    return Jump(
        found.ip_address,
        found.port,
        login,
        known=host_keys.approved(db, found.key),
        name=found.hostname,
        trust_first=_may_trust(db, found.key, config),
        hint=ways.hint(found.login_methods),
        host=found.key,
        credential=credential,
    )


def _login(db: Database, vault: Vault, found: Host) -> tuple[UUID, Login]:
    """Return which credential logs in to a host, and the login. Raise NoCredential, LoginHeldBack."""
    credential = credentials.resolve(db, found.id, scope=EVERYTHING)
    if credential is None:
        raise errors.NoCredential(
            "no credential is stored for it and there is no default one; add one with"
            " POST /api/v1/credentials",
            host=found.hostname,
        )
    username = found.username or credential.username
    backoff.require_none(db, found.key, found.hostname, credential.id, username)
    secrets = credentials.opened(db, vault, credential.id)
    login = Login(username, secrets.password, secrets.private_key, secrets.passphrase)
    return credential.id, login


def _may_trust(db: Database, host: int, config: Config) -> bool:
    return config.scan.trust_first_host_key and host_keys.may_trust_first(db, host)


def _local(host: Host, config: Config) -> Target:
    if not config.scan.allow_local:
        raise errors.TransportRefused(
            "is this machine itself, which the configuration does not permit to be scanned;"
            " set scan.allow_local = true, or reach it over SSH",
            host=host.hostname,
        )
    return Target(
        name=host.hostname,
        address=host.ip_address,
        port=host.port,
        login=Login(username=""),
        privilege=Privilege.ROOT if os.geteuid() == 0 else Privilege.NONE,
        local=True,
    )
