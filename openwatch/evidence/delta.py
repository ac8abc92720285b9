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
_Step = int | bytes  # new text; or two numbers, which `_taken` explains


def encode(base: bytes, content: bytes) -> bytes:
    """Return what makes `content` out of `base`."""
    old, new = _PIECES.findall(base), _PIECES.findall(content)
    places: dict[bytes, int] = {}
    for place in range(len(old) - 1, -1, -1):
        places[old[place]] = place
    steps = _Steps(old)
    at = expected = skipped = (
        0  # in the new one; in the old one, where it goes on; and since then
    )
    while at < len(new):
        begin = _found(old, new[at], (expected + skipped, expected), places)
        if begin is None:
            steps.say(new[at], expected + skipped)
            at, skipped = at + 1, skipped + 1
            continue
        count = 1
        while (
            at + count < len(new)
            and begin + count < len(old)
            and new[at + count] == old[begin + count]
        ):
            count += 1
        steps.take(begin, count)
        at, expected, skipped = at + count, begin + count, 0
    return zlib.compress(msgspec.msgpack.encode(steps.all), _LEVEL)


def decode(base: bytes, packed: bytes, largest: int) -> bytes:
    """Return the content. Raise ValueError where it cannot be made, or would be larger than that."""
    try:
        body = zlib.decompressobj().decompress(packed, largest)
        steps = iter(msgspec.msgpack.decode(body, type=list[int | bytes]))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from None
    old = _PIECES.findall(base)
    parts: list[bytes] = []
    size = at = 0
    for step in steps:
        if isinstance(step, bytes):
            pieces: Sequence[bytes] = [step]
        else:
            count = next(steps, b"")
            if isinstance(count, bytes) or not 0 <= at + step <= len(old):
                raise ValueError("it takes what is not there")
            pieces, at = _taken(old, at + step, count)
        size += sum(map(len, pieces))
        if size > largest:
            raise ValueError("it is larger than anything that is stored")
        parts += pieces
    return b"".join(parts)


def _taken(old: Sequence[bytes], place: int, count: int) -> tuple[Sequence[bytes], int]:
    """Return what two numbers stand for, and the piece behind it.

    The first says how many pieces further than that one (or back); the second how many to take, or, below
    zero, how many bytes of the beginning of a single one.
    """
    if count < 0:
        return [piece[:-count] for piece in old[place : place + 1]], place + 1
    return old[place : place + count], place + count


class _Steps:
    """What is said of a content, from its beginning to its end."""

    def __init__(self, old: Sequence[bytes]) -> None:
        self.all: list[_Step] = []
        self._old = old
        self._at = 0  # behind the piece that was taken last

    def take(self, place: int, count: int) -> None:
        """Take pieces as they are."""
        self.all += (place - self._at, count)
        self._at = place + count

    def say(self, piece: bytes, place: int) -> None:
        """Add a piece that is new: its beginning may be that of the one in its place."""
        same = _common(piece, self._old[place]) if place < len(self._old) else 0
        if same >= _SHORTEST:
            self.all += (place - self._at, -same)
            self._at = place + 1
        else:
            same = 0
        if not same and self.all and isinstance(self.all[-1], bytes):
            self.all[-1] += piece
        else:
            self.all.append(piece[same:])


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes two begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _found(
    old: Sequence[bytes], piece: bytes, likely: Sequence[int], places: dict[bytes, int]
) -> int | None:
    """Return where a piece is: where it is to be expected, else where it first is."""
    for place in likely:
        if place < len(old) and old[place] == piece:
            return place
    return places.get(piece)
