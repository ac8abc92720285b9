"""The fleet bench's targets: a recording becomes the reply to any scan that asks the same."""

from __future__ import annotations

import zlib

import pytest

from build.benches.targets import Recording, Reply
from openwatch.checks import files
from openwatch.checks.together import grouped
from openwatch.checks.types import Probe
from openwatch.scans import wire
from openwatch.scans.frames import Reader

THEN, SECRET = b"OW" + b"1" * 32, b"OW" + b"2" * 32


def script(nonce: bytes, secret: bytes, *more: Probe) -> bytes:
    asked = [files.reading("/etc/fstab"), files.reading("/etc/passwd"), *more]
    alone, groups = grouped(asked, secret.decode())
    return wire.script([*alone, *(group.probe for group in groups)], nonce)


@pytest.fixture
def recording() -> Recording:
    frames = b"n old x86_64\n%b 0 0 1.5\n%b\n%b then %b\n%b 1 0 1.6\n%b\n"
    names = (THEN, THEN, SECRET, SECRET, THEN, THEN)
    return Recording(
        rules=2,
        hostname="old",
        detected=b"o ID=debian\nn old x86_64\n",
        script=script(THEN, SECRET),
        nonce=THEN,
        secret=SECRET,
        greeting=THEN + b" hello gzip 1 1 1 1 1.0 dash\n",
        answers=b"o ID=debian\n" + frames % names,
        farewell=THEN + b" bye\n0m0.01s 0m0.02s\n" + THEN + b" end\n",
    )


def test_the_reply_is_whole_and_carries_the_nonces_and_the_name_of_its_own_scan(
    recording: Recording,
) -> None:
    nonce, secret = wire.new_nonce(), wire.new_nonce()
    reply = Reply(recording, "target-007")
    reader = Reader(nonce, [100, 100])
    said = reply.to(script(nonce, secret))
    reader.feed(said)
    assert reader.ended
    assert [frame.stdout for frame in reader.frames] == [
        b"o ID=debian\nn target-007 x86_64\n",
        secret + b" then " + secret + b"\n",
    ]
    assert reply.detected == b"o ID=debian\nn target-007 x86_64\n"
    packed = said.partition(b"\n")[2]
    assert THEN not in zlib.decompressobj(wbits=31).decompress(packed)


def test_a_scan_that_asks_anything_else_gets_no_reply(recording: Recording) -> None:
    asked = script(wire.new_nonce(), wire.new_nonce(), Probe("uname"))
    with pytest.raises(ValueError, match="other questions"):
        Reply(recording, "target-007").to(asked)
