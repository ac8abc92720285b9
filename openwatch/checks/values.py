"""Comparing what a host says with what a rule wants."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Literal

Comparator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "without"]

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def number(text: str) -> int | None:
    """Return a whole number, None for anything else."""
    return int(text) if _NUMBER.fullmatch(text.strip()) else None


def require_number(comparator: str, expected: str) -> None:
    """Raise ValueError where a comparator of size or of words has nothing to compare with."""
    if comparator in {"in", "without"}:
        if not words(expected):
            raise ValueError(f"`expected` must hold a word at least for `{comparator}`")
    elif comparator not in {"==", "!="} and number(expected) is None:
        raise ValueError(f"`expected` must be a whole number for `{comparator}`: {expected!r}")


def compares(actual: str, comparator: str, expected: str) -> bool:
    """Tell whether `actual comparator expected` holds; by size only whole numbers do.

    `in`: the value is one of the words expected. `without`: it is a list, and no word of it is
    like one of those, in which `*` and `?` stand for anything.
    """
    if comparator == "==":
        return actual == expected
    if comparator == "!=":
        return actual != expected
    if comparator == "in":
        return actual in words(expected)
    if comparator == "without":
        found = words(actual)
        likes = words(expected)
        return bool(found) and not any(
            fnmatch.fnmatchcase(word, like) for word in found for like in likes
        )
    left, right = number(actual), number(expected)
    if left is None or right is None:
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[
        comparator
    ]


def endures(actual: str, comparator: str, expected: str, endless: Sequence[str]) -> bool:
    """Compare as `compares`, words of `endless` being more than any number and all one."""
    if actual not in endless and expected not in endless:
        return compares(actual, comparator, expected)
    ranks = [
        str(1 if text in endless else 0 if number(text) is not None else -1)
        for text in (actual, expected)
    ]
    return ranks[0] != "-1" and compares(ranks[0], comparator, ranks[1])


def words(text: str) -> list[str]:
    """Return the words of a list with commas or white space between them."""
    return [word for word in re.split(r"[,\s]+", text) if word]


def wanted(comparator: str, expected: str) -> str:
    """Return the expectation as people read it: `<= 4`, or the bare value for `==`."""
    if comparator in {"in", "without"}:
        listed = ", ".join(words(expected))
        return f"one of {listed}" if comparator == "in" else f"none of {listed}"
    return expected if comparator == "==" else f"{comparator} {expected}"


def require_path(path: str, name: str = "path") -> None:
    """Raise ValueError where a path is not absolute, or would not stay one argument."""
    if not path.startswith("/") or "\0" in path or "\n" in path:
        raise ValueError(f"`{name}` must be an absolute path on one line: {path!r}")
