"""Files asked for together in a real conversation: one round where all is well, each alone where not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from openwatch.checks import files
from openwatch.checks.types import Observation, Probe
from openwatch.scans.collect import Collected, Conversation
from openwatch.ssh.local import local_session
from openwatch.ssh.types import Privilege


def asked(probes: list[Probe]) -> Collected:
    with contextlib.closing(local_session("here")) as session:
        talk = Conversation(session, Privilege.NONE)
        with contextlib.closing(talk):
            talk.start()
            return talk.ask(probes)


def without_time(observation: Observation) -> tuple[object, ...]:
    return (observation.exit, observation.stdout, observation.stderr, observation.absent)


@pytest.fixture
def questions(tmp_path: Path) -> list[Probe]:
    probes = [Probe("echo first")]
    for n in range(70):
        path = tmp_path / f"file-{n}"
        if n % 7:
            path.write_bytes(b"\0line\n" * n)
        probes += [files.reading(str(path)), files.describing(str(path))]
    return probes


def test_answers_are_those_of_each_alone_and_take_one_channel(questions):
    got = asked(questions)
    assert list(got.observations) == [probe.id for probe in questions]
    assert got.wire.channels == 1
    assert not got.incomplete
    for probe in questions[:9]:
        alone = asked([probe]).observations[probe.id]
        assert without_time(got.observations[probe.id]) == without_time(alone)


@pytest.mark.parametrize("trap", ["forged separator", "flood"])
def test_what_cannot_be_told_apart_is_asked_again_alone(questions, tmp_path, trap):
    path = tmp_path / "trap"
    if trap == "flood":
        with path.open("wb") as large:
            large.truncate(40 << 20)
    else:
        path.symlink_to("/proc/self/environ")
    probes = [*questions, files.reading(str(path))]
    got, clean = asked(probes), asked(questions)
    for probe in questions:
        one, other = got.observations[probe.id], clean.observations[probe.id]
        assert without_time(one) == without_time(other)
    assert not got.incomplete
    assert got.wire.channels > 1
    assert got.observations[probes[-1].id].truncated == (trap == "flood")
