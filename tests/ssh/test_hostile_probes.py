"""Whatever a probe does, it costs its own answer and no other's. In dash, bash and busybox."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openwatch.checks.types import Absence, Observation, Probe
from openwatch.errors import ScanTimeout
from openwatch.scans import reply, wire
from openwatch.scans.collect import Conversation
from openwatch.ssh.local import LocalSession, local_session
from openwatch.ssh.types import Privilege

_NUMBERS = range(6)


def _around(*hostile: Probe) -> list[Probe]:
    """Innocent probes, plain and isolated, on both sides of the hostile ones in the wire's order."""
    before = [Probe(f"echo plain {n}; echo err {n} >&2; exit {n}") for n in _NUMBERS]
    first = [Probe(f": a; echo first {n}", isolated=True, seconds=1.0) for n in _NUMBERS]
    last = [
        Probe(f": z; echo last {n}; exit {n}", isolated=True, seconds=9.0) for n in _NUMBERS
    ]
    return [*before, *first, *hostile, *last]


def _innocent(observations: dict[str, Observation]) -> None:
    for n in _NUMBERS:
        plain = observations[Probe(f"echo plain {n}; echo err {n} >&2; exit {n}").id]
        assert (plain.exit, plain.stdout, plain.stderr) == (n, b"plain %d\n" % n, b"err %d" % n)
        first = observations[Probe(f": a; echo first {n}", isolated=True, seconds=1.0).id]
        assert (first.exit, first.stdout, first.stderr) == (0, b"first %d\n" % n, b"")
        last = observations[
            Probe(f": z; echo last {n}; exit {n}", isolated=True, seconds=9.0).id
        ]
        assert (last.exit, last.stdout, last.absent) == (n, b"last %d\n" % n, None)


ISOLATED = {
    "reads stdin": ("cat; read x; echo got:$x", 0, b"got:\n"),
    "exits": ("echo out; exit 7", 7, b"out\n"),
    "execs": ("exec echo gone", 0, b"gone\n"),
    "syntax error": ("if then", 2, b""),
    "unbalanced quote": ("echo 'abc", 2, b""),
    "redefines our functions": (
        "ow_f() { :; }; ow_p() { :; }; printf() { :; }; echo x",
        0,
        b"x\n",
    ),
    "traps": ("trap 'echo trapped' EXIT; echo in", 0, b"in\ntrapped\n"),
    "closes descriptors": ("exec 3>&- 4>&- 5>&- 6>&-; echo y", 0, b"y\n"),
    "writes to our descriptors": (
        "echo bad >&3; echo bad >&5; echo bad >&6; echo ok",
        0,
        b"ok\n",
    ),
    "changes state": ("cd /tmp; umask 000; PATH=; LC_ALL=xx; IFS=o; echo s", 0, b"s\n"),
    "forged frame": ("echo OW0123456789abcdef0123456789abcdef 3 0 1.0; echo OW bye", 0, None),
    "NULs": (r"printf 'a\0b\0'", 0, b"a\0b\0"),
    "invalid UTF-8": (r"printf '\377\376\200'", 0, b"\xff\xfe\x80"),
    "no line end": ("printf abc", 0, b"abc"),
    "missing tool": ("no-such-tool-here", 127, b""),
    "not executable": ("/etc/passwd", 126, b""),
    "kills its shell": ("kill -9 $$", 137, b""),
    "TERM to its shell": ("kill $$", 143, b""),
    "here-document": ("cat <<EOF\nhello\nEOF", 0, b"hello\n"),
    "segfault": ("kill -SEGV $$", 139, b""),
    "looks for the nonce": ("env | grep -c '^ow_'; set | grep -c '^ow_'", 1, b"0\n0\n"),
    "break and return": ("break; return 3; continue", None, b""),
    "several lines": ("a=1\nb=2\necho $a$b", 0, b"12\n"),
    "quotes": ('echo "it\'s" \'a "b"\' \\$x `echo t`', 0, b'it\'s a "b" $x t\n'),
    "stderr flood": ("head -c 30000 /dev/zero | tr '\\0' e >&2; echo done", 0, b"done\n"),
}


@pytest.mark.parametrize("name", sorted(ISOLATED))
def test_an_isolated_probe_gives_its_own_answer_and_disturbs_no_other(
    conversation: Conversation, name: str
) -> None:
    script, code, stdout = ISOLATED[name]
    probe = Probe(script, isolated=True, seconds=5.0)
    got = conversation.ask(_around(probe))
    _innocent(got.observations)
    mine = got.observations[probe.id]
    assert mine.absent is None
    if code is not None:
        assert mine.exit == code
    if stdout is not None:
        assert mine.stdout == stdout
    assert (got.wire.resumes, got.wire.channels) == (0, 1)
    assert len(mine.stderr) <= 8192


def test_all_hostile_probes_together_disturb_nobody(conversation: Conversation) -> None:
    hostile = [Probe(script, isolated=True, seconds=5.0) for script, _, _ in ISOLATED.values()]
    got = conversation.ask(_around(*hostile))
    _innocent(got.observations)
    assert got.wire.resumes == 0


def test_a_flood_of_100_mb_is_kept_to_the_limit(conversation: Conversation) -> None:
    flood = Probe("head -c 100000000 /dev/zero | tr '\\0' x", isolated=True, limit=1000)
    endless = Probe("yes", isolated=True)
    got = conversation.ask(_around(flood, endless))
    _innocent(got.observations)
    assert got.observations[flood.id].stdout == b"x" * 1000
    assert got.observations[flood.id].truncated
    assert len(got.observations[endless.id].stdout) == 65536
    assert got.observations[endless.id].truncated
    assert got.wire.resumes == 0


def test_a_plain_flood_is_cut_by_us_with_one_resume(conversation: Conversation) -> None:
    flood = Probe("yes y")
    got = conversation.ask(_around(flood))
    _innocent(got.observations)
    assert got.observations[flood.id].absent is Absence.OVERFLOW
    assert len(got.observations[flood.id].stdout) == 65536
    assert got.wire.resumes == 1
    assert not got.incomplete


def test_a_hang_costs_its_own_answer_after_its_budget(conversation: Conversation) -> None:
    plain = Probe("echo before; sleep 300", seconds=1.0)
    deaf = Probe("trap '' TERM INT HUP; sleep 301 & wait", isolated=True, seconds=1.0)
    busy = Probe("while :; do :; done", isolated=True, seconds=1.0)
    got = conversation.ask(_around(plain, deaf, busy))
    _innocent(got.observations)
    for probe in (plain, deaf, busy):
        mine = got.observations[probe.id]
        assert mine.absent is Absence.TIMEOUT
        assert 900 <= mine.milliseconds < 4500
    assert got.observations[plain.id].stdout == b"before\n"
    assert got.wire.resumes == 0


def test_a_late_writer_in_the_background_never_reaches_another_answer(
    conversation: Conversation,
) -> None:
    late = Probe("(sleep 0.3; echo LATE; echo LATE >&2) & echo now", isolated=True, seconds=3.0)
    slow = Probe("sleep 0.6; echo slow", isolated=True, seconds=3.0)
    got = conversation.ask(_around(late, slow))
    _innocent(got.observations)
    assert got.observations[late.id].stdout == b"now\nLATE\n"
    assert got.observations[slow.id].stdout == b"slow\n"
    assert got.observations[slow.id].stderr == b""


def test_a_daemon_that_keeps_stdout_costs_its_own_answer(conversation: Conversation) -> None:
    daemon = Probe("(trap '' HUP; exec sleep 4) & echo started", isolated=True, seconds=1.0)
    got = conversation.ask(_around(daemon))
    _innocent(got.observations)
    assert got.observations[daemon.id].absent is Absence.TIMEOUT
    assert any("may still run" in note for note in got.notes)


def test_a_probe_that_kills_the_whole_group_is_marked_after_two_resumes(
    conversation: Conversation,
) -> None:
    killer = Probe("echo here; kill -9 0", isolated=True, seconds=2.0)
    got = conversation.ask(_around(killer))
    _innocent(got.observations)
    assert got.observations[killer.id].absent is Absence.LOST
    assert got.wire.resumes in {2, 3}, "a busy machine may be cut once more before it has begun"
    assert not got.incomplete


def test_a_probe_that_stops_the_whole_group_is_found_and_its_shell_killed(
    local: LocalSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reply, "_GRACE", 1.5)
    stopper = Probe(f"echo $$ >>{tmp_path}/pids; kill -STOP 0", isolated=True, seconds=1.0)
    last = Probe("echo last", isolated=True, seconds=1.5)
    talk = Conversation(local, Privilege.ROOT)
    got = talk.ask([Probe("echo first", seconds=1.0), stopper, last])
    assert got.observations[stopper.id].absent is Absence.TIMEOUT
    assert got.observations[last.id].stdout == b"last\n"
    assert got.wire.resumes in {2, 3}, "a busy machine may be cut once more before it has begun"
    for pid in (tmp_path / "pids").read_text().split():
        for _ in range(40):
            stat = Path(f"/proc/{pid}/stat")
            if not stat.exists() or stat.read_text().rsplit(") ", 1)[1][0] == "Z":
                break
            time.sleep(0.05)
        else:
            pytest.fail("what the probe left behind still runs")


def test_too_many_cuts_end_the_scan_with_what_it_has(local: LocalSession) -> None:
    killers = [Probe(f": {n}; kill -9 0", isolated=True, seconds=1.0) for n in range(6)]
    last = Probe("echo last", isolated=True, seconds=2.0)
    got = Conversation(local, Privilege.ROOT).ask([Probe("echo first"), *killers, last])
    assert got.observations[Probe("echo first").id].stdout == b"first\n"
    assert got.observations[last.id].absent is Absence.NOT_ASKED
    assert got.incomplete


def test_the_scan_s_own_budget_ends_it_with_what_it_has(local: LocalSession) -> None:
    slow = [Probe(f"sleep 1; echo {n}", seconds=30.0) for n in range(10)]
    quick = [Probe(f"head -c 90000 /dev/urandom; : {n}", limit=10) for n in range(4)]
    talk = Conversation(local, Privilege.ROOT, budget=2.5)
    began = time.monotonic()
    got = talk.ask([*quick, *slow])
    assert time.monotonic() - began < 4
    assert got.incomplete
    assert len(got.observations) == 14
    assert got.observations[slow[-1].id].absent is Absence.NOT_ASKED


def test_a_budget_that_ends_with_nothing_is_a_timeout(local: LocalSession) -> None:
    with pytest.raises(ScanTimeout, match="not one answer"):
        Conversation(local, Privilege.ROOT, budget=1.0).ask([Probe("sleep 30", seconds=30.0)])


def test_without_gzip_the_reply_comes_plain_and_the_scan_says_so(
    local: LocalSession, without_gzip: None
) -> None:
    got = Conversation(local, Privilege.ROOT).ask(_around())
    _innocent(got.observations)
    assert not got.wire.compressed
    assert any("gzip" in note for note in got.notes)


def test_a_broken_gzip_costs_one_resume(
    local: LocalSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gzip").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "gzip").chmod(0o755)
    monkeypatch.setattr(wire, "_PATH", f"{tmp_path}:{wire._PATH}")
    got = Conversation(local, Privilege.ROOT).ask(_around())
    _innocent(got.observations)
    assert got.wire.resumes == 1


def test_detection_shares_the_channel_and_cannot_eat_the_script(
    conversation: Conversation,
) -> None:
    seen = conversation.detect("cat; read x; exit 3; echo no")
    assert seen == b""
    seen = conversation.detect("printf 'a\\n b'; id -u; echo \"$PATH\"; umask")
    assert seen.startswith(b"a\n b%d\n" % os.geteuid())
    assert b"/usr/sbin" in seen
    assert b"77" in seen
    got = conversation.ask(_around())
    _innocent(got.observations)
    assert got.wire.channels == 1


def test_a_second_lane_opens_a_second_channel(conversation: Conversation) -> None:
    conversation.ask([Probe("echo a")])
    got = conversation.ask([Probe("echo b")])
    assert got.observations[Probe("echo b").id].stdout == b"b\n"
    assert got.wire.channels == 2


def test_equal_probes_are_asked_once_and_none_at_all_is_no_error(
    conversation: Conversation, tmp_path: Path
) -> None:
    probe = Probe(f"echo x >>{tmp_path}/count")
    conversation.ask([probe, probe, probe])
    assert (tmp_path / "count").read_text() == "x\n"
    assert conversation.ask([]).observations == {}


def test_exported_variables_of_ours_do_not_reveal_the_nonce(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "openwatch.ssh.local._ENVIRONMENT", {"PATH": "/usr/bin:/bin", "ow_n": "x", "ow_E": "y"}
    )
    session = local_session("localhost")
    try:
        probe = Probe("env | grep -c ow_", isolated=True)
        got = Conversation(session, Privilege.ROOT).ask([probe])
        assert got.observations[probe.id].stdout == b"0\n"
    finally:
        session.close()


def test_progress_counts_up_to_all(local: LocalSession) -> None:
    seen: list[tuple[int, int]] = []
    talk = Conversation(
        local, Privilege.ROOT, progress=lambda done, of: seen.append((done, of))
    )
    talk.ask([Probe(f"sleep 0.6; echo {n}") for n in range(4)])
    assert seen[-1] == (4, 4)
    assert len(seen) > 1, "a sign of life each second"
    assert seen == sorted(seen)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.booleans())
def test_whatever_bytes_a_probe_prints_the_others_answers_are_unchanged(
    outputs: list[bytes], isolated: bool
) -> None:
    def octal(data: bytes) -> str:
        return "".join(f"\\{byte:03o}" for byte in data)

    noisy = [
        Probe(f": {n}; printf '{octal(data)}'; printf '{octal(data)}' >&2", isolated=isolated)
        for n, data in enumerate(outputs)
    ]
    session = local_session("localhost")
    try:
        got = Conversation(session, Privilege.ROOT).ask(_around(*noisy))
    finally:
        session.close()
    _innocent(got.observations)
    for probe, data in zip(noisy, outputs, strict=True):
        assert got.observations[probe.id].stdout == data
