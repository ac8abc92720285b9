"""Whether the findings that everybody reads are the verdicts that were signed.

The chain proves documents; lists, scores and reports are read from the findings. Wherever a
host's document changed, the two are held against each other at that instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.db import Database, load
from openwatch.evidence import layers
from openwatch.posture import history
from openwatch.scans import documents

_QUERIES = load("openwatch.scans", "agreement.sql")


def disagreements(db: Database, host: int) -> Iterator[str]:
    """Yield where a host's findings (by its key) are not what its scans concluded, the oldest first.

    Only what the history still reaches. A document that is missing or damaged is passed over:
    the chain's verifier names it.
    """
    for row in db.rows(_QUERIES["turns"], host=host):
        try:
            document = documents.decoded(layers.load(db, bytes(row["verdicts"])))
        except (errors.NotFound, errors.EvidenceDamaged):
            continue
        yield from _of_scan(db, host, row, document)


def _of_scan(
    db: Database, host: int, row: dict[str, Any], document: documents.ScanRecord
) -> Iterator[str]:
    found = {
        finding.rule: finding
        for finding in history.findings_of(db, host, row["recorded_at"], scope=EVERYTHING)
        if not finding.variant
    }
    where = f"scan {row['id']} (sequence {row['sequence']})"
    for name in sorted(document.rules):
        signed = document.rules[name]
        finding = found.get(name)
        if finding is None:
            yield f"{where}: there is no finding of {name}, which it judged"
        elif (finding.status, finding.severity) != (signed.status, signed.severity):
            yield (
                f"{where}: the finding of {name} says {finding.status.value}"
                f" ({finding.severity.value}), what it concluded is {signed.status.value}"
                f" ({signed.severity.value})"
            )
