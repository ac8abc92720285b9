"""A content as what differs from another one that it resembles: pieces of that, and new text.

Answers and documents change in a line or a value at a time. A piece ends where a line or a member
of a list ends, so that a changed value costs its own length and little more.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import msgspec

_PIECES = re.compile(rb"[^\n,{\[]*[\n,{\[]|[^\n,{\[]+")
_LEVEL = 6
_Step = tuple[int, int] | bytes  # the first piece and their number, or text


def encode(base: bytes, content: bytes) -> bytes:
    """Return what makes `content` out of `base`."""
    old, new = _PIECES.findall(base), _PIECES.findall(content)
    places: dict[bytes, int] = {}
    for place in range(len(old) - 1, -1, -1):
        places[old[place]] = place
    steps: list[_Step] = []
    text: list[bytes] = []
    at = expected = 0  # in the new one; in the old one, where it goes on
    while at < len(new):
        begin = _found(old, new[at], (expected + len(text), expected), places)
        if begin is None:
            text.append(new[at])
            at += 1
            continue
        if text:
            steps.append(b"".join(text))
            text.clear()
        count = 1
        while (
            at + count < len(new)
            and begin + count < len(old)
            and new[at + count] == old[begin + count]
        ):
            count += 1
        steps.append((begin, count))
        at, expected = at + count, begin + count
    if text:
        steps.append(b"".join(text))
    return zlib.compress(msgspec.msgpack.encode(steps), _LEVEL)


def decode(base: bytes, packed: bytes, largest: int) -> bytes:
    """Return the content. Raise ValueError where it cannot be made, or would be larger than that."""
    try:
        body = zlib.decompressobj().decompress(packed, largest)
        steps = msgspec.msgpack.decode(body, type=list[tuple[int, int] | bytes])
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from None
    old = _PIECES.findall(base)
    parts: list[bytes] = []
    size = 0
    for step in steps:
        pieces = [step] if isinstance(step, bytes) else old[step[0] : step[0] + step[1]]
        size += sum(map(len, pieces))
        if size > largest:
            raise ValueError("it is larger than anything that is stored")
        parts += pieces
    return b"".join(parts)


def _found(
    old: Sequence[bytes], piece: bytes, likely: Sequence[int], places: dict[bytes, int]
) -> int | None:
    """Return where a piece is: where it is to be expected, else where it first is."""
    for place in likely:
        if place < len(old) and old[place] == piece:
            return place
    return places.get(piece)
