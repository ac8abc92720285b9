"""The script goes compressed to a host that says it has gzip, and as it is to any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openwatch.checks.types import Probe
from openwatch.scans import wire
from openwatch.scans.collect import Collected, Conversation
from openwatch.ssh.local import LocalSession, local_session
from openwatch.ssh.types import Privilege

_PROBES = [Probe(f"echo {n} \u00e9 \"'$((1 + 1))'\" | tr a-z A-Z") for n in range(300)]


class _Bare(LocalSession):
    """This machine with nothing on PATH but what is linked into one folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("bare")
        self._folder = folder

    def open(self, command: str):
        return super().open(f"PATH={self._folder}; {command}")


def _asked(session: LocalSession) -> Collected:
    talk = Conversation(session, Privilege.NONE)
    try:
        assert talk.detect("echo here") == b"here\n"
        got = talk.ask(_PROBES)
    finally:
        talk.close()
    assert [got.observations[p.id].stdout for p in _PROBES] == [
        f"{n} \u00e9 '2'\n".encode() for n in range(300)
    ]
    assert got.wire.channels == 1
    assert got.wire.resumes == 0
    return got


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[LocalSession]:
    for name in ("sh", "cat"):
        (tmp_path / name).symlink_to(Path("/bin") / name)
    session = _Bare(tmp_path)
    yield session
    session.close()


def _length() -> int:
    return len(wire.script(_PROBES, wire.new_nonce()))


def test_a_host_with_gzip_is_sent_a_fraction_of_the_script():
    session = local_session("here")
    try:
        assert _asked(session).wire.bytes_sent < _length() / 3
    finally:
        session.close()


def test_a_host_without_gzip_is_sent_the_script_as_it_is(bare: LocalSession):
    assert _asked(bare).wire.bytes_sent > _length()


def test_a_shell_of_any_kind_takes_it_compressed(conversation: Conversation):
    got = conversation.ask(_PROBES)
    assert all(got.observations[p.id].exit == 0 for p in _PROBES)
    assert got.wire.bytes_sent < _length() / 3


def test_noise_that_looks_like_the_word_of_another_shell_decides_nothing():
    assert wire.takes_packed(b"welcome\nOW1z\nOW1\n", b"OW1")
    assert not wire.takes_packed(b"welcome\nOW1z\nOW1abc\n", b"OW1abc")
    assert not wire.takes_packed(b"OW1\n", b"OW1")
