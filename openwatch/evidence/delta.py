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
_SHORTEST = 6  # bytes that a changed piece shares with the one it replaces
# The first piece and their number (the bytes of its beginning, where that is negative), or text
_Step = tuple[int, int] | bytes


def encode(base: bytes, content: bytes) -> bytes:
    """Return what makes `content` out of `base`."""
    old, new = _PIECES.findall(base), _PIECES.findall(content)
    places: dict[bytes, int] = {}
    for place in range(len(old) - 1, -1, -1):
        places[old[place]] = place
    steps: list[_Step] = []
    at = expected = skipped = (
        0  # in the new one; in the old one, where it goes on; and since then
    )
    while at < len(new):
        begin = _found(old, new[at], (expected + skipped, expected), places)
        if begin is None:
            _say(steps, new[at], old, expected + skipped)
            at, skipped = at + 1, skipped + 1
            continue
        count = 1
        while (
            at + count < len(new)
            and begin + count < len(old)
            and new[at + count] == old[begin + count]
        ):
            count += 1
        steps.append((begin, count))
        at, expected, skipped = at + count, begin + count, 0
    return zlib.compress(msgspec.msgpack.encode(steps), _LEVEL)


def _say(steps: list[_Step], piece: bytes, old: Sequence[bytes], place: int) -> None:
    """Add a piece that is new: its beginning may be that of the one in its place."""
    same = _common(piece, old[place]) if place < len(old) else 0
    if same >= _SHORTEST:
        steps += ((place, -same), piece[same:])
    elif steps and isinstance(steps[-1], bytes):
        steps[-1] += piece
    else:
        steps.append(piece)


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes two begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


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
        if isinstance(step, bytes):
            pieces = [step]
        elif step[1] < 0:
            pieces = [piece[: -step[1]] for piece in old[step[0] : step[0] + 1]]
        else:
            pieces = old[step[0] : step[0] + step[1]]
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
