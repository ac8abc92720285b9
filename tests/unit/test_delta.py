"""A difference gives back what it was made of, and nothing else comes out of a forged one."""

from __future__ import annotations

import contextlib
import os
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwatch.evidence import delta

_TEXT = st.lists(
    st.sampled_from([b"a = 1\n", b"b\n", b"{", b"[x,", b"x", b"", b"\0\xff", b"\n"])
)
_LARGEST = 1 << 20


@given(_TEXT, _TEXT)
def test_what_goes_in_comes_out(old: list[bytes], new: list[bytes]) -> None:
    base, content = b"".join(old), b"".join(new)
    assert delta.decode(base, delta.encode(base, content), _LARGEST) == content


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_bytes_are_no_other_matter(base: bytes, content: bytes) -> None:
    assert delta.decode(base, delta.encode(base, content), _LARGEST) == content


def test_a_changed_line_costs_little_more_than_itself() -> None:
    lines = [b"%s = %s\n" % (os.urandom(9).hex().encode(), os.urandom(9)) for _ in range(2000)]
    base = b"".join(lines)
    lines[7] = lines[7][:21] + b"other\n"
    lines[1000:1001] = []
    lines.insert(1500, b"new\n")
    assert len(delta.encode(base, b"".join(lines))) < 80


@pytest.mark.parametrize(
    "steps",
    [
        [0, 1 << 40],
        [-1, 3],
        [1 << 40, -5],
        [0, -(1 << 40)],
        [0],
        [0, b"x"],
        [],
        [b"x" * 2000],
        [0, 3, -3, 3] * 900,
    ],
)
def test_a_forged_difference_makes_no_more_than_is_allowed(steps: list[object]) -> None:
    packed = zlib.compress(msgspec.msgpack.encode(steps))
    with contextlib.suppress(ValueError):
        assert len(delta.decode(b"a\nb\nc\n", packed, 1000)) <= 1000


@pytest.mark.parametrize("packed", [b"", b"x", zlib.compress(b"x"), zlib.compress(b"\x91\xc3")])
def test_what_is_no_difference_is_said_to_be_none(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        delta.decode(b"base", packed, 1000)


def test_documents_of_half_a_megabyte_that_differ_everywhere_come_back_whole() -> None:
    base = b",".join(b'"%d":{"status":"pass","actual":"%d"}' % (n % 9, n) for n in range(15000))
    for old, new in ((base, base.replace(b"pass", b"fail")), (b"," * len(base), base)):
        packed = delta.encode(old, new)
        assert delta.decode(old, packed, 1 << 24) == new
