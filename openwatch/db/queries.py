"""Named SQL: a `.sql` file beside the code, each query under a `-- name: purpose` line.

    -- due: hosts whose next scan is due at :at, the longest overdue first
    SELECT ... WHERE next_scan_at <= :at

`:name` is a parameter (`::type` stays a cast). It becomes `$1`, `$2`, ... once, when the file is
loaded, so that running a query costs no parsing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources

_HEADER = re.compile(r"^-- ([a-z][a-z0-9_]*): (.+)$", re.MULTILINE)
# A comment or a quoted text is taken whole, so that what looks like a parameter in it is not one.
_TOKEN = re.compile(r"(--[^\n]*)|('(?:[^']|'')*')|(?<![:\w]):([a-z][a-z0-9_]*)\b")


class Query:
    """One statement, ready for the wire, with its parameters in order."""

    __slots__ = ("name", "parameters", "purpose", "sql", "text")

    def __init__(self, name: str, purpose: str, text: str) -> None:
        """Give the parameters of `text` numbers in the order of their first use."""
        numbers: dict[str, int] = {}

        def number(match: re.Match[str]) -> str:
            if match[3] is None:
                return match[2] or ""
            return f"${numbers.setdefault(match[3], len(numbers) + 1)}"

        self.name = name
        self.purpose = purpose
        self.text = text.strip().rstrip(";")  # as it was written, for a query around it
        self.sql = _TOKEN.sub(number, self.text).strip().rstrip(";")
        self.parameters = tuple(numbers)

    def __repr__(self) -> str:
        """Name the query; its text is in the file."""
        return f"<Query {self.name}>"


class Queries(Mapping[str, Query]):
    """The queries of one file, by name."""

    def __init__(self, text: str) -> None:
        """Read a whole `.sql` file."""
        parts = _HEADER.split(text)
        self._queries = {
            name: Query(name, purpose, body)
            for name, purpose, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
        }

    def __getitem__(self, name: str) -> Query:
        """Return the query of that name; KeyError is a programming mistake."""
        return self._queries[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._queries)

    def __len__(self) -> int:
        """Count the queries."""
        return len(self._queries)


def load(package: str, file: str = "queries.sql") -> Queries:
    """Read `file` out of a package: `load(__package__)`."""
    return Queries(resources.files(package).joinpath(file).read_text("utf-8"))
