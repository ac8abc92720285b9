"""Whether the rules are those of the last start: they are what every verdict is judged by."""

from __future__ import annotations

import logging

from openwatch import log
from openwatch.db import Database, load
from openwatch.rules.types import Corpus

logger = logging.getLogger(__name__)
_QUERIES = load("openwatch.rules")


def note(db: Database, corpus: Corpus) -> bool:
    """Remember which rules are in use, and log `rules.changed` where they were others before.

    However many workers start with new rules, one of them says so. Return whether this one did.
    """
    row = db.row(_QUERIES["note"], hash=corpus.hash.hex())
    if row is None or row["before"] is None:
        return False
    log.event(
        logger,
        logging.WARNING,
        "rules.changed",
        f"the rules are others than at the last start: {len(corpus.rules)} rules now",
        old=row["before"],
        new=corpus.hash.hex(),
    )
    return True
