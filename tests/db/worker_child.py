"""A worker process of the tests: it does `work` jobs, slowly, and records each behind the fence."""

from __future__ import annotations

import os
import signal
import sys
import time

from openwatch.db import Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import connector, open_database
from openwatch.db.listen import Listener
from openwatch.jobs import queue
from openwatch.jobs.loop import Worker
from openwatch.jobs.types import Claim

RECORD = Query(
    "record", "", "INSERT INTO done VALUES (:id::uuid, :attempt::integer, :worker::text)"
)


def main(name: str, lease: float) -> None:
    dsn = dsns.parse(os.environ["CHILD_DSN"])
    db = open_database(dsn)

    def work(claim: Claim) -> None:
        print("started", claim.attempt, flush=True)
        time.sleep(claim.payload["seconds"])
        print("recording", flush=True)
        with db.scope(), db.atomic():
            queue.hold(db, claim)
            db.run(RECORD, id=claim.id, attempt=claim.attempt, worker=name)
            queue.finish(db, claim)

    listener = Listener(connector(dsn), [queue.CHANNEL])
    worker = Worker(db, listener, {"work": work}, name=name, lease=lease, drain=5, poll=0.2)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()
    print("stopped", flush=True)


main(sys.argv[1], float(sys.argv[2]))
