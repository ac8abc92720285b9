"""A whole scan of this machine by its real rules, from several distances.

Everything that a worker does is in it: the connection, the questions, judging and recording. The
floor is OpenSSH's own client, fed the same commands one a line, on the same way at the same time.
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

from benches.figures import Figure, known, report  # noqa: E402
from benches.rig import Rig, rig  # noqa: E402
from openwatch.accounts.types import EVERYTHING  # noqa: E402
from openwatch.checks.types import Probe  # noqa: E402
from openwatch.fleet import hosts  # noqa: E402
from openwatch.rules import capabilities  # noqa: E402
from openwatch.scans.collect import Collected, Conversation  # noqa: E402
from openwatch.scans.inventory import look  # noqa: E402
from openwatch.scans.jobs import Scanner  # noqa: E402
from openwatch.scans.plan import Plan, plan  # noqa: E402
from openwatch.ssh.connect import connect  # noqa: E402
from openwatch.ssh.types import Privilege, Target  # noqa: E402
from tests.ssh.delay import Delay  # noqa: E402
from tests.ssh.machine import ROOT as IS_ROOT  # noqa: E402
from tests.ssh.machine import Sshd  # noqa: E402

ROUNDS = 5
FLOORED = 40  # the distance in milliseconds at which a scan is compared with the floor
_MARK = "the-floor-is-whole"


@contextmanager
def quiet_sshd() -> Iterator[Sshd]:
    """Give an sshd whose user has an empty home: what somebody's start-up files cost is not ours."""
    sshd = Sshd()
    sshd.settings = f"SetEnv HOME={sshd.folder}\n"
    try:
        sshd.start()
        yield sshd
    finally:
        sshd.remove()


class Real:
    """This machine as a host behind its own sshd, and the questions that its rules ask of it."""

    def __init__(self, stand: Rig, sshd: Sshd) -> None:
        """Scan once, so that the host is known; nothing is measured yet."""
        self.stand = stand
        self.sshd = sshd
        self.scanner = stand.scanner(Scanner)
        stand.log_in_with(sshd.user, sshd.private_key)
        self.host = stand.add_host("bench", "127.0.0.1", sshd.port, sshd.host_key)
        self.privilege = Privilege.ROOT if IS_ROOT else Privilege.SUDO
        self.scan(sshd.port)
        names = capabilities.needed(stand.corpus)
        self.detection = capabilities.detection_probe(names)
        self.plan: Plan = self._planned(names)
        asked = [self.detection, *self.plan.probes, *look.probes(self.facts)]
        self.questions: list[Probe] = list({probe.id: probe for probe in asked}.values())

    def scan(self, port: int) -> float:
        """Seconds of a whole scan through a port, recording included."""
        hosts.change(self.stand.db, self.host.id, {"port": port}, scope=EVERYTHING)
        self.stand.request(self.host.id)
        claim = self.stand.claim()
        begun = time.perf_counter()
        self.scanner.scan(claim)
        return time.perf_counter() - begun

    def ask(self) -> Collected:
        """Ask the same questions, nothing more."""
        with self._talk() as talk:
            return talk.ask(self.questions)

    def floor(self, port: int) -> float:
        """Seconds of the bare commands in one shell. What may end that shell is in parentheses."""
        lines = [f"({p.script}\n)" if p.isolated else p.script for p in self.questions]
        become = "exec " if self.privilege is Privilege.ROOT else "exec sudo -n "
        begun = time.perf_counter()
        done = subprocess.run(
            [*self._ssh(port), f"{become}sh -s"],
            input="\n".join([*lines, f"echo {_MARK}\n"]).encode(),
            capture_output=True,
            check=False,
        )
        taken = time.perf_counter() - begun
        if not done.stdout.endswith(f"{_MARK}\n".encode()):
            raise RuntimeError("a command of the floor ended its shell or took its input")
        return taken

    def one_by_one(self, port: int) -> float:
        """Seconds of the same questions on one connection, each by a command of its own."""
        begun = time.perf_counter()
        session = connect(self._target(port))
        become = "" if self.privilege is Privilege.ROOT else "sudo -n "
        try:
            for probe in self.questions:
                channel = session.open(f"{become}sh -c {shlex.quote(probe.script)}")
                channel.shut()
                while channel.receive(65536, 30.0):
                    pass
                channel.exit_status(30.0)
                channel.close()
        finally:
            session.close()
        return time.perf_counter() - begun

    def _planned(self, names: frozenset[str]) -> Plan:
        with self._talk() as talk:
            self.facts = capabilities.parse(talk.detect(self.detection.script), names)
            return plan(self.stand.corpus, self.facts)

    @contextmanager
    def _talk(self) -> Iterator[Conversation]:
        session = connect(self._target(self.sshd.port))
        talk = Conversation(session, self.privilege)
        try:
            talk.start()
            yield talk
        finally:
            talk.close()
            session.close()

    def _target(self, port: int) -> Target:
        target = self.sshd.target(privilege=self.privilege)
        return Target(target.name, target.address, port, target.login, known=target.known)

    def _ssh(self, port: int) -> list[str]:
        known_hosts = self.sshd.folder / "known_bench"
        kind, key = (self.sshd.folder / "host.pub").read_text().split()[:2]
        known_hosts.write_text(f"bench {kind} {key}\n")
        return [
            "ssh", "-F", "/dev/null", "-p", str(port), "-i", str(self.sshd.folder / "user"),
            "-o", f"UserKnownHostsFile={known_hosts}", "-o", "HostKeyAlias=bench",
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", f"{self.sshd.user}@127.0.0.1",
        ]  # fmt: skip


class Distances:
    """The scan from each distance; rounds go through all of them in turn, so noise meets all."""

    def __init__(self, real: Real, ports: dict[int, int]) -> None:
        """`ports` are by round-trip time in milliseconds."""
        self.real = real
        self.ports = ports
        self.walls: dict[int, list[float]] = {rtt: [] for rtt in ports}
        self.floors: list[float] = []
        for _ in range(ROUNDS):
            self._round()

    def wall(self, rtt: int) -> float:
        """Median of the seconds of a whole scan."""
        return statistics.median(self.walls[rtt])

    def once_more(self, rtt: int) -> float:
        """The same, after another round."""
        self._round()
        return self.wall(rtt)

    def rtts_used(self) -> float:
        """Slope of wall over RTT, by least squares, after another round."""
        self._round()
        rtts = [rtt / 1000 for rtt in self.ports]
        return statistics.linear_regression(rtts, [self.wall(rtt) for rtt in self.ports]).slope

    def ratio(self) -> float:
        """Median of scan / floor at 40 ms, each pair measured side by side, after another round."""
        self._round()
        pairs = zip(self.walls[FLOORED], self.floors, strict=True)
        return statistics.median(scan / floor for scan, floor in pairs)

    def _round(self) -> None:
        for rtt, port in self.ports.items():
            self.walls[rtt].append(self.real.scan(port))
            if rtt == FLOORED:
                self.floors.append(self.real.floor(port))


def run(rtts: Sequence[int]) -> int:
    """Print the figures."""
    with ExitStack() as stack:
        real = Real(stack.enter_context(rig()), stack.enter_context(quiet_sshd()))
        ports = {
            rtt: stack.enter_context(Delay(real.sshd.port, rtt / 1000)).port
            for rtt in sorted(set(rtts))
        }
        bench = Distances(real, ports)
        figures = [
            known("scan.questions", len(real.questions), None, "questions"),
            known("scan.rules", len(real.plan.steps), None, "rules"),
        ]
        for rtt in ports:
            limit = 2.0 if rtt == FLOORED else None
            name = f"scan.rtt_{rtt}.wall_s"
            figures.append(Figure(name, partial(bench.once_more, rtt), limit, "s"))
        if len(ports) > 1:
            figures.append(Figure("scan.rtts_used", bench.rtts_used, 12, "round trips"))
        if FLOORED in ports:
            figures.append(Figure(f"scan.rtt_{FLOORED}.ratio", bench.ratio, 1.35, "x"))
        return max(report(*figures), report(*_one_by_one(real, ports)))


def _one_by_one(real: Real, ports: dict[int, int]) -> list[Figure]:
    """What one command a question costs: a channel takes two round trips to open and to start.

    Questions that rules share are asked once here too, so it is less than one a check would be.
    """
    near = real.one_by_one(real.sshd.port)
    figures = []
    for rtt, port in ports.items():
        name = f"scan.rtt_{rtt}.one_by_one"
        model = near + (2 * len(real.questions) + 8) * rtt / 1000
        figures.append(known(f"{name}_modelled_s", model, None, "s"))
        if rtt == FLOORED:
            figures.append(known(f"{name}_measured_s", real.one_by_one(port), None, "s"))
    return figures


class Host:
    """What a scan costs the host that is asked."""

    def __init__(self, real: Real) -> None:
        """Nothing runs yet."""
        self.real = real

    def cpu_seconds(self) -> float:
        """Median of the CPU that the scan's shell and all it started used, by its own `times`."""
        return statistics.median(self.real.ask().wire.host_cpu_seconds for _ in range(ROUNDS))

    def peak_mb(self) -> float:
        """The most that the scan's processes held at once: the sum of what each held at its peak.

        Their shared pages count once for each of them, so it is more than the host has to give.
        """
        peak, is_done = 0.0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not is_done.wait(0.002):
                peak = max(peak, sum(map(_peak_mb, _below(self.real.sshd))))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.real.ask()
        finally:
            is_done.set()
            watcher.join()
        return peak


def host_figures(stand: Rig, sshd: Sshd) -> list[Figure]:
    """Return the figures of the host's side."""
    host = Host(Real(stand, sshd))
    return [
        Figure("scan.host_cpu_s", host.cpu_seconds, 1.0, "s"),
        Figure("scan.host_peak_mb", host.peak_mb, 50, "MB"),
    ]


def _below(sshd: Sshd) -> list[int]:
    """The processes that run for a session: all below sshd's own."""
    found: list[int] = []
    ahead = sshd.connections()
    while ahead:
        pid = ahead.pop()
        below = _children(pid)
        ahead += below
        found += [child for child in below if _name(child) != "sshd"]
    return found


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
