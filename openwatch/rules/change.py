"""Whether the rules are those of the last start: they are what every verdict is judged by."""

from __future__ import annotations

import logging

from openwatch import log
from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import Resource
from openwatch.db import Database, load
from openwatch.rules.types import Corpus

logger = logging.getLogger(__name__)
_QUERIES = load("openwatch.rules")


def note(db: Database, corpus: Corpus) -> bool:
    """Remember which rules are in use; audit and log it where they were others before.

    However many workers start with new rules, one of them says so. Return whether this one did.
    """
    new = corpus.hash.hex()
    with db.atomic():
        row = db.row(_QUERIES["note"], hash=new)
        if row is None or row["before"] is None:
            return False
        trail.record(
            db,
            Code.SYSTEM_CONFIG_CHANGED,
            resource=Resource("rules", new),
            config_key="rules",
            old_value=row["before"],
            new_value=new,
            rules=len(corpus.rules),
        )
    log.event(
        logger,
        logging.WARNING,
        "rules.changed",
        f"the rules are others than at the last start: {len(corpus.rules)} rules now",
        old=row["before"],
        new=new,
    )
    return True
