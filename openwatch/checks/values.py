"""Comparing what a host says with what a rule wants."""

from __future__ import annotations

import re
from typing import Literal

Comparator = Literal["==", "!=", "<", "<=", ">", ">="]

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def number(text: str) -> int | None:
    """Return a whole number, None for anything else."""
    return int(text) if _NUMBER.fullmatch(text.strip()) else None


def require_number(comparator: str, expected: str) -> None:
    """Raise ValueError where a comparator of size has nothing to compare with."""
    if comparator not in {"==", "!="} and number(expected) is None:
        raise ValueError(f"`expected` must be a whole number for `{comparator}`: {expected!r}")


def compares(actual: str, comparator: str, expected: str) -> bool:
    """Tell whether `actual comparator expected` holds; by size only whole numbers do."""
    if comparator == "==":
        return actual == expected
    if comparator == "!=":
        return actual != expected
    left, right = number(actual), number(expected)
    if left is None or right is None:
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[
        comparator
    ]


def wanted(comparator: str, expected: str) -> str:
    """Return the expectation as people read it: `<= 4`, or the bare value for `==`."""
    return expected if comparator == "==" else f"{comparator} {expected}"


def require_path(path: str, name: str = "path") -> None:
    """Raise ValueError where a path is not absolute, or would not stay one argument."""
    if not path.startswith("/") or "\0" in path or "\n" in path:
        raise ValueError(f"`{name}` must be an absolute path on one line: {path!r}")
