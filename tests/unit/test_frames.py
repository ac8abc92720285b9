"""The reader of the wire: any split of the stream gives the same frames; damage is told."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwatch.checks.types import Probe
from openwatch.scans import frames, wire
from openwatch.scans.frames import Broken, Flood, Reader
from openwatch.ssh.types import Privilege

NONCE = b"OW" + b"a1" * 16
HELLO = NONCE + b" hello %s 10 10 10 500 100.00 dash\n"
BYE = NONCE + b" bye\n0m0.10s 0m0.20s\n0m1.00s 1m0.00s\n" + NONCE + b" end\n"


def _frame(seq: int, out: bytes, err: bytes, code: int = 0, uptime: float = 100.5) -> bytes:
    return out + b"%s %d %d %.2f\n" % (NONCE, seq, code, uptime) + err + NONCE + b"\n"


def _stream(answers: list[tuple[bytes, bytes]], compressed: bool) -> bytes:
    body = b"".join(_frame(n, out, err, n) for n, (out, err) in enumerate(answers))
    if compressed:
        packer = zlib.compressobj(1, wbits=31)
        body = packer.compress(body) + packer.flush()
    return b"Welcome!\n" + HELLO % (b"gzip" if compressed else b"cat") + body + BYE


@given(
    st.lists(st.tuples(st.binary(max_size=80), st.binary(max_size=20)), max_size=5),
    st.booleans(),
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
)
def test_any_split_of_the_stream_gives_the_same_frames(
    answers: list[tuple[bytes, bytes]], compressed: bool, sizes: list[int]
) -> None:
    reader = Reader(NONCE, [50] * len(answers))
    rest, turn = _stream(answers, compressed), 0
    while rest:
        size = sizes[turn % len(sizes)]
        reader.feed(rest[:size])
        rest, turn = rest[size:], turn + 1
    assert reader.ended
    assert reader.exact
    assert reader.cpu_seconds == pytest.approx(61.3)
    assert [f.stdout for f in reader.frames] == [out[:50] for out, _ in answers]
    assert [f.truncated for f in reader.frames] == [len(out) > 50 for out, _ in answers]
    assert [f.stderr for f in reader.frames] == [err for _, err in answers]
    assert [f.exit for f in reader.frames] == list(range(len(answers)))


def test_what_came_of_the_running_probe_is_known() -> None:
    reader = Reader(NONCE, [5, 5])
    reader.feed(HELLO % b"cat" + _frame(0, b"one", b"") + b"half of")
    assert not reader.ended
    assert reader.exact
    assert reader.partial() == b"half "
    packed = Reader(NONCE, [5, 5])
    packed.feed(HELLO % b"gzip" + zlib.compress(b"", wbits=31)[:5])
    assert not packed.exact


@pytest.mark.parametrize(
    "stream",
    [
        b"x" * 70_000,
        NONCE + b" hello gzip ten\n",
        HELLO % b"gzip" + b"not gzip at all",
        HELLO % b"cat" + _frame(1, b"", b""),
        HELLO % b"cat" + _frame(0, b"", b"") + _frame(0, b"", b""),
        HELLO % b"cat" + NONCE + b" zero 0 1.0\n" + NONCE + b"\n",
        HELLO % b"cat" + NONCE + b" " * 400,
        HELLO % b"cat" + NONCE + b" bye\n" + b"y" * 70_000,
    ],
)
def test_a_damaged_stream_is_told(stream: bytes) -> None:
    with pytest.raises(Broken):
        Reader(NONCE, [10, 10]).feed(stream)


def test_a_flood_and_a_bomb_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_FLOOD", 1_000_000)
    with pytest.raises(Flood):
        Reader(NONCE, [10]).feed(HELLO % b"cat" + b"x" * 1_100_000)
    bomb = zlib.compressobj(9, wbits=31)
    packed = bomb.compress(b"\0" * 50_000_000) + bomb.flush()
    assert len(packed) < 60_000
    with pytest.raises(Flood):
        Reader(NONCE, [10]).feed(HELLO % b"gzip" + packed)


def test_the_order_on_the_wire_puts_the_isolated_last_and_asks_once() -> None:
    slow, quick = Probe("a", seconds=30.0), Probe("b")
    foreign = Probe("c", isolated=True, seconds=1.0)
    assert wire.in_order([foreign, slow, quick, slow]) == [quick, slow, foreign]


def test_the_boot_command_is_quoted_for_any_login_shell() -> None:
    for privilege in Privilege:
        command = wire.boot_command(privilege, "READY", "PROMPT:")
        assert not set("!\\\n`") & set(command)
        assert command.count("'") in {2, 4}
    assert "sudo" not in wire.boot_command(Privilege.ROOT)


def test_a_detection_of_two_lines_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="one line"):
        wire.detection_line("a\nb", NONCE)
