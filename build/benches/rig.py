"""What the benches of whole scans stand on: a private PostgreSQL, key files, and hosts in it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from uuid import UUID

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

import msgspec  # noqa: E402

from benches.still import stop_clocks  # noqa: E402
from openwatch.accounts.types import EVERYTHING  # noqa: E402
from openwatch.checks.types import Lane  # noqa: E402
from openwatch.config import schema  # noqa: E402
from openwatch.db import Database, database_of_models  # noqa: E402
from openwatch.db import dsn as dsns  # noqa: E402
from openwatch.db.connect import open_database  # noqa: E402
from openwatch.db.embedded import Server, wheel_programs  # noqa: E402
from openwatch.db.migrate import apply  # noqa: E402
from openwatch.fleet import credentials, host_keys, hosts  # noqa: E402
from openwatch.fleet.credentials import NewCredential  # noqa: E402
from openwatch.fleet.hosts import NewHost  # noqa: E402
from openwatch.fleet.types import AuthMethod, Host, Scope, Secrets  # noqa: E402
from openwatch.jobs import queue  # noqa: E402
from openwatch.jobs.types import Claim  # noqa: E402
from openwatch.keys import files  # noqa: E402
from openwatch.keys.signing import signer  # noqa: E402
from openwatch.rules.load import load  # noqa: E402
from openwatch.rules.types import Corpus  # noqa: E402
from openwatch.scans import store  # noqa: E402
from openwatch.scans.jobs import Scanner  # noqa: E402
from openwatch.ssh.types import HostKey  # noqa: E402
from openwatch.vault import Vault  # noqa: E402

S = TypeVar("S", bound=Scanner)


class Rig:
    """A migrated database on a server with its default settings, and what a worker needs."""

    def __init__(
        self, folder: Path, postgres: Server, config: schema.Config, db: Database
    ) -> None:
        """See `rig`, which makes and removes one."""
        self.folder = folder
        self.postgres = postgres
        self.config = config
        self.db = db
        self.corpus: Corpus = load()
        self.vault = Vault(files.credential_keys(Path(config.identity.credential_key_file)))

    def scanner(self, kind: type[S]) -> S:
        """Return what a worker scans with."""
        return kind(
            db=self.db,
            vault=self.vault,
            config=self.config,
            corpus=self.corpus,
            signer=signer(self.db, self.vault),
        )

    def log_in_with(self, username: str, private_key: str) -> None:
        """Make this the credential of every host."""
        credentials.create(
            self.db,
            self.vault,
            NewCredential(
                scope=Scope.SYSTEM,
                name="bench",
                username=username,
                auth_method=AuthMethod.SSH_KEY,
                secrets=Secrets(private_key=private_key),
                is_default=True,
            ),
            scope=EVERYTHING,
        )

    def add_host(self, name: str, address: str, port: int, key: HostKey) -> Host:
        """Add a host whose key is approved."""
        host = hosts.create(
            self.db, NewHost(hostname=name, ip_address=address, port=port), scope=EVERYTHING
        )
        host_keys.seen(self.db, host.key, key)
        host_keys.approve(self.db, host.id, key.fingerprint, "bench", scope=EVERYTHING)
        return host

    def request(self, host: UUID) -> UUID:
        """Queue a scan of the config lane and return its id."""
        return store.request(
            self.db, host, trigger=store.Trigger.ON_DEMAND, lane=Lane.CONFIG, scope=EVERYTHING
        ).id

    def postgres_pid(self) -> int:
        """Return the process id of the server, whose children serve a connection each."""
        return int((self.postgres.data / "postmaster.pid").read_text().split()[0])

    def claim(self) -> Claim:
        """Take what was queued, as a worker does."""
        claim = queue.claim(self.db, "bench", [store.JOB], 60)
        assert claim is not None
        return claim


@contextmanager
def rig(**sections: msgspec.Struct) -> Iterator[Rig]:
    """Give a rig, in scope; `sections` stand in its configuration.

    Nothing is left behind, on SIGTERM neither.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="openwatch-bench-", dir="/var/tmp"))
    folder.chmod(0o711)  # the server's own user passes through; its cluster is 0700
    postgres = Server(folder / "cluster", wheel_programs())
    try:
        postgres.start()
        (folder / "keys").mkdir(mode=0o700)
        files.generate_credential_key(folder / "keys" / "credential.key")
        config = schema.Config(
            database=schema.Database(dsn=postgres.create_database("bench")),
            identity=schema.Identity(credential_key_file=str(folder / "keys/credential.key")),
            **sections,  # type: ignore[arg-type]
        )
        db = open_database(dsns.parse(config.database.dsn))
        database_of_models.initialize(db)
        apply(db)
        with db.scope():
            stop_clocks(db)
            yield Rig(folder, postgres, config, db)
        db.close_all()
    finally:
        postgres.stop()
        postgres.remove()
        shutil.rmtree(folder)


def cpu_seconds(pid: int) -> float:
    """Return the CPU that a process has used, and its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def family_cpu_seconds(pid: int) -> float:
    """Return the CPU of a process, of its children, and of those that have ended."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + sum(cpu_seconds(int(child)) for child in below)
