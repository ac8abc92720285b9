"""Ask a host all questions of a scan on one channel, and survive whatever they do to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from openwatch import clock
from openwatch.checks import together
from openwatch.checks.normalise import normalised
from openwatch.checks.types import Absence, Observation, Probe
from openwatch.errors import ConnectionLost, ScanTimeout
from openwatch.scans import wire
from openwatch.scans.boot import boot
from openwatch.scans.frames import Frame, Hello, Reader
from openwatch.scans.reply import ABSENCE, Cut, read
from openwatch.ssh.types import Channel, Privilege, Session

_RESUMES = 3
_DETECTION = 60.0  # seconds
_READ = 65536


class Collected(msgspec.Struct, frozen=True):
    """The answers, by probe id: one for every probe that was given.

    `incomplete` says that some were not asked. `notes` are sentences for people.
    """

    observations: dict[str, Observation]
    wire: wire.Cost
    notes: tuple[str, ...] = ()
    incomplete: bool = False


class Conversation:
    """One scan's talk with one host. Start it, detect, ask, close it."""

    def __init__(
        self,
        session: Session,
        privilege: Privilege,
        sudo_password: str | None = None,
        budget: float = 600.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """`budget` is in seconds, from `start`.

        progress gets (answered, asked) at least about each second, moved or not.
        """
        self._session = session
        self._privilege = privilege
        self._sudo_password = sudo_password
        self._budget = budget
        self._progress = progress
        self._channel: Channel | None = None
        self._began = clock.monotonic()
        self._reported = self._sent = self._received = self._resumes = 0
        self._cpu = 0.0
        self._shell = ""
        self._packs = False  # the shell that waits can decompress its script
        self._compressed = False
        self._leftovers: list[wire.Leftover] = []
        self._notes: dict[str, None] = {}
        self._before = session.channels_opened

    def start(self) -> None:
        """Start the shell. Raise PrivilegeRefused, LoginRefused, ScanTimeout, ConnectionLost."""
        self._began = clock.monotonic()
        self._ready()

    def detect(self, line: str) -> bytes:
        """Return what one line of shell prints, run before the probes on the same channel.

        It runs in a subshell without stdin and stderr. Raise ScanTimeout, ConnectionLost.
        """
        channel = self._ready()
        nonce = wire.new_nonce()
        question = wire.detection_line(line, nonce)
        channel.send(question)
        self._sent += len(question)
        until = clock.monotonic() + min(_DETECTION, max(0.0, self._left()))
        seen = b""
        while seen.count(nonce + b"\n") < 2:
            left = until - clock.monotonic()
            if left <= 0:
                self._drop()
                raise ScanTimeout(
                    f"the host did not tell what it is within {_DETECTION:.0f} s",
                    host=self._session.name,
                )
            try:
                data = channel.receive(_READ, left)
            except TimeoutError:
                continue
            self._received += len(data)
            seen += data
            if not data or len(seen) > 1 << 20:
                self._drop()
                raise ConnectionLost(
                    "the shell ended while it was asked what the host is",
                    host=self._session.name,
                )
        return seen.split(nonce + b"\n")[1]

    def ask(self, probes: Sequence[Probe]) -> Collected:
        """Return an observation for every probe.

        Raise ScanTimeout where the budget ended without any answer, ConnectionLost where the
        connection itself is gone or nothing could be had of the shell.
        """
        self._reported = 0
        unique = {probe.id: probe for probe in probes}
        alone, groups = together.grouped(unique.values(), wire.new_nonce().decode())
        seen: dict[str, Observation] = {}
        self._answer([*alone, *(group.probe for group in groups)], seen)
        again: list[Probe] = []
        for group in groups:
            shared = seen.pop(group.probe.id)
            answers = group.answers(shared)
            if answers is not None:
                seen.update(answers)
            elif shared.absent is Absence.NOT_ASKED:
                seen.update((part.id, shared) for part in group.parts.values())
            else:
                again += group.parts.values()
        self._answer(again, seen)
        is_short = any(one.absent is Absence.NOT_ASKED for one in seen.values())
        observations = {name: seen[name] for name in unique}
        return Collected(observations, self._cost(), tuple(self._notes), is_short)

    def _answer(self, probes: Sequence[Probe], seen: dict[str, Observation]) -> None:
        """Add an observation for each of these."""
        waiting = wire.in_order(probes)
        before, total = len(seen), len(seen) + len(waiting)
        answered, compress = 0, True
        cut = Cut.WHOLE if self._left() > 0 else Cut.BUDGET
        while waiting and cut is not Cut.BUDGET and self._resumes <= _RESUMES:
            reader, cut = self._trip(waiting, compress, len(seen), total)
            self._keep(reader, waiting, seen)
            answered += len(reader.frames)
            waiting = waiting[len(reader.frames) :]
            if not waiting:
                break
            if reader.exact or cut is Cut.FLOOD:
                running = waiting.pop(0)
                seen[running.id] = Observation(
                    stdout=reader.partial(), truncated=True, absent=ABSENCE[cut]
                )
            # What a filter still held is lost; without one the next cut is known exactly.
            compress = False
            self._resumes += 1
        if total and not before and not answered:
            self._nothing(cut)
        for probe in waiting:
            seen[probe.id] = Observation(absent=Absence.NOT_ASKED)

    def close(self) -> None:
        """Let go of the shell; the session stays open."""
        self._drop()

    def _ready(self) -> Channel:
        """Return a channel whose shell waits; open one where there is none."""
        if self._channel is None:
            self._channel, self._packs = boot(
                self._session, self._privilege, self._sudo_password
            )
        return self._channel

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.shut()
            self._channel.close()
            self._channel = None

    def _left(self) -> float:
        return self._began + self._budget - clock.monotonic()

    def _trip(
        self, probes: Sequence[Probe], compress: bool, done: int, total: int
    ) -> tuple[Reader, Cut]:
        """Ask these in this order, once; return what came and how it ended."""
        channel = self._ready()
        nonce = wire.new_nonce()
        reader = Reader(nonce, [probe.limit for probe in probes])
        text = wire.script(probes, nonce, compress=compress, leftovers=self._leftovers)
        message = wire.sent(text, packed=self._packs)
        channel.send(message)
        self._sent += len(message)
        channel.shut()
        cut = read(
            channel,
            reader,
            slowest=max(probe.seconds for probe in probes),
            left=self._left,
            report=lambda count: self._report(done + count, total),
        )
        self._received += reader.received
        if cut is Cut.WHOLE:
            channel.exit_status(2.0)  # it says so at once: a clean end, no hang-up
        self._channel = None
        channel.close()
        self._cpu += reader.cpu_seconds
        if reader.hello is not None:
            self._greeted(reader.hello, compress)
            if cut is not Cut.WHOLE:
                self._leftovers.append(reader.hello.process)
        return reader, cut

    def _report(self, done: int, total: int) -> None:
        self._reported = max(self._reported, min(done, total))
        if self._progress is not None:
            self._progress(self._reported, total)

    def _keep(
        self, reader: Reader, probes: Sequence[Probe], seen: dict[str, Observation]
    ) -> None:
        """Turn frames into observations; the host's own clock says how long each took."""
        before = reader.hello.uptime if reader.hello else 0.0
        for frame, probe in zip(reader.frames, probes, strict=False):
            took = max(0, round((frame.uptime - before) * 1000))
            before = frame.uptime
            seen[probe.id] = self._observation(probe, frame, took)

    def _observation(self, probe: Probe, frame: Frame, took: int) -> Observation:
        late = frame.exit == 137 and took >= 900 * probe.seconds
        if late and probe.isolated:
            self._note(
                f"a question outran its {probe.seconds:g} s and was killed; what it had detached "
                "from its shell may still run"
            )
        return Observation(
            exit=frame.exit,
            stdout=normalised(probe, frame.stdout),
            stderr=frame.stderr,
            milliseconds=took,
            truncated=frame.truncated,
            absent=Absence.TIMEOUT if late else None,
        )

    def _greeted(self, hello: Hello, asked_to_compress: bool) -> None:
        self._shell = hello.shell
        self._compressed = self._compressed or hello.compressed
        if asked_to_compress and not hello.compressed:
            self._note("the host has no gzip: the reply came uncompressed")
        if "ksh" in self._shell and "mksh" not in self._shell:
            self._note("the host's sh is ksh93, where one probe may disturb the next")

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def _nothing(self, cut: Cut) -> None:
        """Raise: not one probe was answered."""
        if cut in {Cut.BUDGET, Cut.STALL}:
            raise ScanTimeout(
                f"not one answer came within {clock.monotonic() - self._began:.0f} s: the host "
                "hangs, or the scan's budget is too small",
                host=self._session.name,
            )
        raise ConnectionLost(
            "the shell ended without one answer: see that `sh` on the host is a POSIX shell and "
            "that /proc is mounted",
            host=self._session.name,
        )

    def _cost(self) -> wire.Cost:
        return wire.Cost(
            bytes_sent=self._sent,
            bytes_received=self._received,
            compressed=self._compressed,
            resumes=self._resumes,
            channels=self._session.channels_opened - self._before,
            host_cpu_seconds=round(self._cpu, 3),
            milliseconds=round((clock.monotonic() - self._began) * 1000),
            shell=self._shell,
        )
