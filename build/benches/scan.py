"""What asking a host all questions of a scan costs, beside the bare commands in one shell.

The floor is `ssh HOST sh -s` by OpenSSH's own client, fed the same commands one a line, on the same
sshd in the same run. Both sides include the connection and its login.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

import msgspec  # noqa: E402

from benches import distance  # noqa: E402
from benches.distance import host_figures, quiet_sshd  # noqa: E402
from benches.figures import Figure, report  # noqa: E402
from benches.rig import Rig, rig  # noqa: E402
from openwatch.accounts.types import EVERYTHING  # noqa: E402
from openwatch.checks.types import Observation, Probe  # noqa: E402
from openwatch.config.schema import Scan  # noqa: E402
from openwatch.fleet import hosts  # noqa: E402
from openwatch.fleet.hosts import NewHost  # noqa: E402
from openwatch.fleet.types import Transport  # noqa: E402
from openwatch.scans.collect import Collected, Conversation  # noqa: E402
from openwatch.scans.jobs import Scanner  # noqa: E402
from openwatch.scans.types import Answer, Begun  # noqa: E402
from openwatch.ssh.connect import connect  # noqa: E402
from openwatch.ssh.types import Privilege  # noqa: E402
from tests.ssh.machine import Sshd  # noqa: E402

RUNS = 20
DETECTION = "cat /etc/os-release; uname -m; uname -r; id -u; hostname"
After = Callable[[Collected], None]  # judging and recording, where their CPU is to be counted


def questions() -> list[Probe]:
    """Return 540 questions of the kinds that a compliance scan asks, 18 of them isolated."""
    files = sorted(str(p) for p in Path("/etc").rglob("*.conf") if p.is_file())[:60]
    files += ["/etc/passwd", "/etc/group", "/etc/login.defs", "/etc/fstab", "/etc/absent.conf"]
    keys = sorted(str(p) for p in Path("/proc/sys/net/ipv4").glob("*"))[:50]
    keys += sorted(str(p) for p in Path("/proc/sys/kernel").glob("*"))[:50]
    keys = [key for key in keys if os.access(key, os.R_OK) and Path(key).is_file()]
    asked = [Probe("dpkg-query -W"), Probe("sysctl -a"), Probe("cat /proc/mounts")]
    asked += [Probe(f"cat -- {name}") for name in files]
    asked += [Probe(f"stat -c '%a %u %g %s' -- {name}") for name in files]
    asked += [Probe(f"grep -E '^[[:space:]]*[A-Za-z]' -- {name}") for name in files]
    asked += [Probe(f"cat {key}") for key in keys]
    asked += [Probe(f"test -e /usr/bin/tool{n}") for n in range(60)]
    asked += [Probe(f"getent passwd {n}") for n in range(60)]
    isolated = [
        Probe(f"awk -F: '$3 == {n} {{ print $1 }}' /etc/passwd | sort", isolated=True)
        for n in range(18)
    ]
    rest = 540 - len(asked) - len(isolated)
    asked += [Probe(f"ls -ld /etc/rc{n}.d /var/log") for n in range(rest)]
    return asked + isolated


class Bench:
    """A scan of this machine over the loopback."""

    def __init__(self, sshd: Sshd, after: After | None = None) -> None:
        """`after` gets what was collected, inside the measured part."""
        self.sshd = sshd
        self.after = after
        self.probes = questions()
        self.channels = 0
        self.cpu_ms: list[float] = []
        self._commands = "".join(f"{probe.script}\n" for probe in self.probes).encode()
        known = sshd.folder / "known_hosts"
        public = (sshd.folder / "host.pub").read_text().split()
        known.write_text(f"[127.0.0.1]:{sshd.port} {public[0]} {public[1]}\n")
        self._ssh = [
            "ssh", "-F", "/dev/null", "-p", str(sshd.port), "-i", str(sshd.folder / "user"),
            "-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            f"{sshd.user}@127.0.0.1", "sh -s",
        ]  # fmt: skip

    def floor(self) -> float:
        """Seconds of the bare commands."""
        begun = time.perf_counter()
        subprocess.run(self._ssh, input=self._commands, capture_output=True, check=False)
        return time.perf_counter() - begun

    def scan(self) -> float:
        """Seconds of the same questions asked our way, detection included."""
        begun, cpu = time.perf_counter(), time.process_time()
        session = connect(self.sshd.target(privilege=Privilege.NONE))
        talk = Conversation(session, Privilege.NONE)
        talk.start()
        talk.detect(DETECTION)
        got = talk.ask(self.probes)
        talk.close()
        self.channels = max(self.channels, session.channels_opened)
        session.close()
        taken = time.perf_counter() - begun
        if self.after is not None:
            self.after(got)
        self.cpu_ms.append((time.process_time() - cpu) * 1000)
        if got.incomplete or len(got.observations) != len(self.probes):
            raise RuntimeError("the scan has no answer to some question")
        return taken

    def ratio(self) -> float:
        """Median of scan / floor, each pair measured side by side."""
        self.cpu_ms.clear()
        pairs = [(self.scan(), self.floor()) for _ in range(RUNS)]
        return statistics.median(ours / bare for ours, bare in pairs)

    def controller_cpu_ms(self) -> float:
        """Median of our own CPU in those scans."""
        return statistics.median(self.cpu_ms)


def run(stand: Rig) -> int:
    """Print what a scan costs here, judging and recording included, and what it costs the host."""
    with quiet_sshd() as sshd:
        bench = Bench(sshd, Recorder(stand))
        bench.scan()  # the first one imports and fills caches
        bench.floor()
        return report(
            Figure("scan.wall_ratio", bench.ratio, 1.35, "x"),
            Figure("scan.channels", lambda: float(bench.channels), 1, "channels"),
            Figure("scan.controller_cpu_ms", bench.controller_cpu_ms, 90, "ms"),
            *host_figures(stand, sshd),
        )


class Told(Scanner):
    """Asks its host once; from then on that answer, and what `more` holds, are its answers."""

    answer: Answer | None = None
    more: Mapping[str, Observation] = {}

    def _ask(self, begun: Begun, note: Callable[[int, int], None]) -> Answer:
        if self.answer is None:
            self.answer = super()._ask(begun, note)
        first = self.answer.collected
        both = {**first.observations, **self.more}
        collected = msgspec.structs.replace(first, observations=both)
        return msgspec.structs.replace(self.answer, collected=collected)


class Recorder:
    """Judges the real corpus and records, with the synthetic answers as further evidence.

    The corpus is judged on this machine's own answers, taken once; each scan stores its 540
    synthetic answers beside them, so the work is more than a scan of either would be.
    """

    def __init__(self, stand: Rig) -> None:
        """Ask this machine once, and make it a host."""
        self._stand = stand
        self._scanner = stand.scanner(Told)
        machine = NewHost(hostname="local", ip_address="127.0.0.1")
        self._host = hosts.create(
            stand.db, machine, transport=Transport.LOCAL, scope=EVERYTHING
        )
        self._record()

    def __call__(self, got: Collected) -> None:
        """Judge and record one scan; everything that a worker does after the last answer."""
        self._scanner.more = got.observations
        self._record()

    def _record(self) -> None:
        self._stand.request(self._host.id)
        self._scanner.scan(self._stand.claim())


def main() -> int:
    """Print the figures: a scan here, or with --rtt from each of these distances."""
    parser = argparse.ArgumentParser(prog="build/bench scan", description=__doc__)
    parser.add_argument(
        "--rtt",
        type=lambda text: [int(word) for word in text.split(",")],
        metavar="MS,...",
        help="round-trip times in milliseconds, as in 0,20,40,100",
    )
    rtts = parser.parse_args().rtt
    if rtts:
        return distance.run(rtts)
    with rig(scan=Scan(allow_local=True)) as stand:
        return run(stand)


if __name__ == "__main__":
    sys.exit(main())
