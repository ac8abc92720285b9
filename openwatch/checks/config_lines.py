"""Lines of configuration files into keys and values: sections, comments, quotes, delimiters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

# There the rest of the line is the value, a comment sign included: the program that reads it
# would not take `60 # days` for 60, so neither is it taken here.
_WHOLE_LINE = re.compile(r"/systemd/|^/etc/login\.defs$|^/etc/audit/auditd\.conf$")

_HEADER = re.compile(r"\[\s*([^\]]*?)\s*\]\s*(?:[#;].*)?")

# There a key and its value may have white space alone between them.
_LOOSE = re.compile(r"^/etc/security/(?:faillock|pwhistory|pwquality)\.conf")


class Line(msgspec.Struct, frozen=True):
    """One line of a file, counted from 1."""

    path: str
    number: int
    text: str


class Entry(msgspec.Struct, frozen=True):
    """A key that is set; `value` is None for the bare key. `section` is "" before the first."""

    path: str
    line: int
    section: str
    value: str | None


def in_file(path: str, content: bytes) -> Iterator[Line]:
    """Yield the lines of one file."""
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), 1):
        yield Line(path, number, line)


def in_files(content: bytes) -> Iterator[Line]:
    """Yield the lines of a `reading_all`: path, colon, line; paths hold no colon."""
    path, number = "", 0
    for row in content.decode("utf-8", "replace").split("\n"):
        name, colon, line = row.partition(":")
        if not colon:
            continue
        number = number + 1 if name == path else 1
        path = name
        yield Line(path, number, line)


def entries(lines: Iterable[Line], key: str, delimiter: str) -> Iterator[Entry]:
    """Yield every setting of a key, in order, with the section that it stands in.

    The delimiter may have white space around it, `:` always works as one, a delimiter of white
    space is any run of it. The key is compared exactly, case included.
    """
    path, section = "", ""
    spaced = not delimiter.strip()
    for line in lines:
        if line.path != path:
            path, section = line.path, ""
        text = line.text.strip() if key in line.text or "[" in line.text else ""
        if not text or text[0] in "#;":
            continue
        header = _HEADER.fullmatch(text) if text[0] == "[" else None
        if header:
            section = header.group(1)
            continue
        if not text.startswith(key):
            continue
        rest = text[len(key) :]
        value = _value(rest, delimiter, spaced=spaced)
        if value is None and _LOOSE.search(path):
            value = _value(rest, " ", spaced=True)
        if value is None:
            bare = not rest.strip() or rest.lstrip()[0] in "#;"
            if not bare or (rest and not rest[0].isspace()):
                continue
            yield Entry(path, line.number, section, None)
            continue
        if _WHOLE_LINE.search(path):
            yield Entry(path, line.number, section, value.strip())
            continue
        yield Entry(path, line.number, section, clean(value))


def _value(rest: str, delimiter: str, *, spaced: bool) -> str | None:
    """Return what stands behind the delimiter, None where there is none."""
    text = rest.lstrip()
    if spaced:
        if not rest or not rest[0].isspace() or not text or text[0] in "#;":
            return None
        return text
    for sign in (delimiter.strip(), ":"):
        if text.startswith(sign):
            return text[len(sign) :].lstrip()
    return None


def clean(value: str) -> str:
    """Return a value without its inline comment and the quotes around it."""
    text = value.strip()
    if text[:1] in {'"', "'"}:
        end = text.find(text[0], 1)
        after = text[end + 1 :].strip()
        if end > 0 and (not after or after[0] in "#;"):
            return text[1:end]
    comment = re.search(r"(?:^|\s)[#;]", text)
    return text[: comment.start()].rstrip() if comment else text
