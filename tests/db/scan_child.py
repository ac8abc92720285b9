"""A worker process of the tests that scans: told its database and its rules by the environment."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import database_of_models
from openwatch.db import dsn as dsns
from openwatch.db.connect import connector, open_database
from openwatch.db.listen import Listener
from openwatch.jobs import queue
from openwatch.jobs.loop import Worker
from openwatch.keys.signing import signer
from openwatch.rules.load import load
from openwatch.scans.jobs import Scanner
from openwatch.vault import Vault


def main() -> None:
    dsn = dsns.parse(os.environ["CHILD_DSN"])
    db = open_database(dsn)
    database_of_models.initialize(db)
    vault = Vault([bytes.fromhex(os.environ["CHILD_KEY"])])
    with db.scope():
        sign = signer(db, vault)
    scanner = Scanner(
        db=db,
        vault=vault,
        config=Config(scan=Scan(allow_local=True)),
        corpus=load([Path(os.environ["CHILD_RULES"])]),
        signer=sign,
    )
    worker = Worker(
        db,
        Listener(connector(dsn), [queue.CHANNEL]),
        {"scan": scanner.scan},
        burials={"scan": scanner.bury},
        lease=2.0,
        poll=0.2,
    )
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    print("ready", flush=True)
    worker.run()


main()
