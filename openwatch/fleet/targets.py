"""From a stored host to what it takes to reach it: the one place where a scan's secret is opened."""

from __future__ import annotations

import os

from openwatch import errors
from openwatch.config import Config
from openwatch.db import Database
from openwatch.fleet import backoff, credentials, host_keys, hosts
from openwatch.fleet.types import Host, Transport
from openwatch.ssh.types import Login, Privilege, Target
from openwatch.vault import Vault

_ROOT = "root"


def target(db: Database, vault: Vault, host: int, config: Config) -> Target:
    """Return what it takes to reach a host (its key in the database), secret included.

    Raise NotFound for a deleted host, NoCredential, LoginHeldBack, SecretUnreadable, and
    TransportRefused for this machine itself where the configuration does not permit it.
    """
    found = hosts.by_key(db, host)
    if found.transport is Transport.LOCAL:
        return _local(found, config)
    credential = credentials.resolve(db, found.id)
    if credential is None:
        raise errors.NoCredential(
            "no credential is stored for it and there is no default one; add one with"
            " POST /api/v1/credentials",
            host=found.hostname,
        )
    username = found.username or credential.username
    backoff.require_none(db, host, found.hostname, credential.id, username)
    secrets = credentials.opened(db, vault, credential.id)
    # Policy may let sudo ask for the password that logs in; sudo that asks for none gets none.
    sudo_password = secrets.password if config.scan.sudo_password else None
    privilege = Privilege.SUDO if sudo_password is None else Privilege.SUDO_PASSWORD
    return Target(
        name=found.hostname,
        address=found.ip_address,
        port=found.port,
        login=Login(username, secrets.password, secrets.private_key, secrets.passphrase),
        known=host_keys.approved(db, host),
        privilege=Privilege.ROOT if username == _ROOT else privilege,
        sudo_password=sudo_password,
        trust_first=config.scan.trust_first_host_key and host_keys.may_trust_first(db, host),
        credential=credential.id,
    )


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
