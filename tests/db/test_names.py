"""The memory of names, when the database goes away at any statement of a recording."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from openwatch import errors
from openwatch.db import Database, Query
from openwatch.posture.ledger import Ledger
from openwatch.posture.lens import ALL, lenses
from openwatch.posture.types import ScanMark
from tests.db.fleet import add_host, add_scan, judged

_RECORDED = Query("r", "recorded scans", "SELECT key FROM scans WHERE recorded_at IS NOT NULL")
_OPEN = Query(
    "o",
    "findings by rule and variant",
    """SELECT r.name, v.name, m.name FROM findings f
         JOIN rule_names r ON r.key = f.rule JOIN variant_names v ON v.key = f.variant
         JOIN reason_names m ON m.key = f.reason
        WHERE f.host = :host::integer AND f.until = 'infinity' ORDER BY 1, 2""",
)


class Cut:
    """Ends the connection of whoever runs the statement with this number."""

    def __init__(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = self.count = 0
        execute = db._execute

        def counted(query: Any, parameters: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                db.connection().interrupt()
            return execute(query, parameters)

        monkeypatch.setattr(db, "_execute", counted)

    def before(self, number: int) -> None:
        self.at, self.count = number, 0


def _record(db: Database, ledger: Ledger, mark: ScanMark, tag: str) -> None:
    """Record, in a scope of its own, a scan of names that nobody has met."""
    verdicts = [
        judged(f"{tag}-a", reason=f"{tag}-reason"),
        judged(f"{tag}-b", variant=f"{tag}-variant"),
    ]
    framework = lenses([(tag, tag, "A framework", {f"{tag}-a": ["1"], f"{tag}-c": ["2"]})])
    with db.scope():
        ledger.recording(lambda: ledger.record(mark, verdicts, (), (ALL, *framework)))


def test_a_connection_lost_at_any_statement_leaves_no_half_of_a_name_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, ledger = Cut(database, monkeypatch), Ledger(database)
    statements = 1
    number = 0
    with ThreadPoolExecutor(1) as pool:
        while number < statements:
            number += 1
            host = add_host(database, "web")
            mark, tag = add_scan(database, host), f"cut-{number}"
            cut.before(number)
            failed = None
            try:
                pool.submit(_record, database, ledger, mark, tag).result(30)
            except errors.DatabaseUnavailable as error:
                failed = error
            cut.before(0)
            is_recorded = mark.key in {key for (key,) in database.tuples(_RECORDED)}
            # What was committed is told as done, whatever comes after it.
            assert is_recorded is (failed is None), number
            if not is_recorded:
                pool.submit(_record, database, ledger, mark, tag).result(30)
                statements = max(statements, cut.count)
            again = add_scan(database, host)
            pool.submit(_record, database, ledger, again, tag).result(30)
            assert [list(row) for row in database.tuples(_OPEN, host=host)] == [
                [f"{tag}-a", "", f"{tag}-reason"],
                [f"{tag}-b", f"{tag}-variant", "meets"],
            ]
    assert number > 20
