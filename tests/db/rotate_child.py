"""Rotates the credential key and kills itself once a named step is done, or in the middle of sealing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openwatch.db import database_of_models
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.keys import rotation, sealed
from openwatch.keys.rotation import Step


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(dsn: str, path: str, where: str) -> None:
    db = open_database(dsns.parse(dsn))
    database_of_models.initialize(db)
    if where == "between batches":
        whole = sealed.beyond

        def broken_off(*arguments: Any) -> Iterator[list[sealed.Value]]:
            for number, batch in enumerate(whole(*arguments)):
                if number == 2 and arguments[1]:  # not where everything is looked at
                    die()
                yield batch

        sealed.beyond = broken_off  # type: ignore[assignment]

    def tell(step: Step) -> None:
        if step.value == where:
            die()

    with db.scope():
        rotation.Rotation(db, Path(path), tuple, tell=tell).run()


main(*sys.argv[1:])
