"""Every code is emitted somewhere in the program, or declared absent with the reason."""

from __future__ import annotations

import re
from pathlib import Path

from openwatch.audit.absent import ABSENT
from openwatch.audit.codes import Code

SOURCE = Path(__file__).parents[2] / "openwatch"
DECLARED = {"codes.py", "words.py", "absent.py"}  # of audit/: they name codes, and emit none


def emitted() -> set[str]:
    found: set[str] = set()
    for file in SOURCE.rglob("*.py"):
        if file.parent.name == "audit" and file.name in DECLARED:
            continue
        found |= set(re.findall(r"\bCode\.([A-Z][A-Z_]+)\b", file.read_text("utf-8")))
    return found


def test_every_code_is_emitted_or_declared_absent() -> None:
    missing = {code.name for code in Code} - emitted() - {code.name for code in ABSENT}
    assert not missing, "nothing emits these, and audit/absent.py does not say why"


def test_what_is_declared_absent_is() -> None:
    present = {code.name for code in ABSENT} & emitted()
    assert not present, "audit/absent.py says that nothing emits these, but something does"


def test_every_reason_is_one() -> None:
    assert all(len(reason) > 20 and not reason.endswith(".") for reason in ABSENT.values())


def test_no_code_is_made_up() -> None:
    assert emitted() <= set(Code.__members__)
