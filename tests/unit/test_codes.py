"""Every code that the program can answer with is in the registry, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from openwatch.web import codes, openapi, problems
from openwatch.web.api import ALL

SOURCE = Path(__file__).parents[2] / "openwatch"
CODE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
# Answered by the server's own edge, before an operation is found.
OF_THE_EDGE = {"resource.method_not_allowed", "validation.headers_too_large"}  # of no operation
ERRORS_ALONE = {
    *("authz", "conflict", "credentials", "hosts", "pagination", "resource"),
    *("tokens", "transition", "users", "validation"),
}
TABLE = (*ALL, *openapi.operations(ALL))


def written() -> Iterator[tuple[str, str]]:
    """Yield every code that an error is given in the source, and where."""
    for file in sorted(SOURCE.rglob("*.py")):
        if file.name in ("codes.py", "codes_of_nouns.py"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            value = _code_of(node)
            for one in () if value is None else ast.walk(value):
                if isinstance(one, ast.Constant) and CODE.fullmatch(str(one.value)):
                    yield str(one.value), f"{file.relative_to(SOURCE)}:{one.lineno}"


def _code_of(node: ast.AST) -> ast.expr | None:
    """Return the part of a node that is, or picks, a code."""
    if isinstance(node, ast.keyword):
        return node.value if node.arg == "code" else None
    if isinstance(node, ast.Assign):
        return node.value if any(map(_is_code, node.targets)) else None
    return node if isinstance(node, ast.Constant) and _is_of_errors(node.value) else None


def _is_of_errors(value: object) -> bool:
    """Say whether a text can be nothing but a code: its first word is of errors alone."""
    if not isinstance(value, str):
        return False
    first, _, second = value.partition(".")
    return first in ERRORS_ALONE and bool(second) and second not in ("sql", "equiv")


def _is_code(target: ast.expr) -> bool:
    name = getattr(target, "id", "") or getattr(target, "attr", "")
    return name.strip("_").lower() in ("code", "codes", "taken")


def test_every_code_in_the_source_is_in_the_registry() -> None:
    known = codes.CODES.keys() | codes.ELSEWHERE
    assert {code: where for code, where in written() if code not in known} == {}


def test_every_code_of_the_registry_is_in_the_source() -> None:
    assert codes.CODES.keys() - {code for code, _ in written()} == set()


def test_every_code_has_the_form_of_one_a_status_and_a_sentence() -> None:
    for code, told in codes.CODES.items():
        assert CODE.fullmatch(code)
        assert all(HTTPStatus(status) >= 400 for status in told.statuses)
        assert told.meaning.endswith(".")
        assert code not in codes.ELSEWHERE


def test_every_code_belongs_to_an_operation() -> None:
    reached = {code for row in TABLE for found in codes.of(row).values() for code in found}
    assert codes.CODES.keys() - reached == OF_THE_EDGE


def test_what_is_answered_is_what_the_registry_says() -> None:
    for code, told in codes.CODES.items():
        for status in told.statuses:
            error = problems.simple(status, code, "It is so.", None).error
            assert (error.fault, error.retryable) == (told.fault, told.is_retryable)


def test_every_status_that_a_row_names_has_a_code() -> None:
    for row in TABLE:
        assert set(row.errors) <= codes.of(row).keys(), row.id
