"""What comes back from a host, read as it arrives, in constant memory. See `scans.wire`."""

from __future__ import annotations

import enum
import zlib
from collections.abc import Sequence

import msgspec

from openwatch.scans.wire import STDERR_LIMIT, Leftover

_NOISE = 64 * 1024  # bytes that may come before the hello frame
_LINE = 300  # bytes of a head line
_FLOOD = 16 * 1024 * 1024  # bytes of one output; its probe is cut off there
_TOTAL = 64 * 1024 * 1024  # bytes of the whole reply, decompressed
_PIECE = 256 * 1024  # bytes inflated at a time


class Broken(Exception):
    """The reply does not keep the protocol."""


class Flood(Exception):
    """The running probe, or the reply as a whole, grew past all limits."""


class Frame(msgspec.Struct, frozen=True):
    """One probe's answer as it came. `uptime` is the host's, in seconds."""

    seq: int
    exit: int
    uptime: float
    stdout: bytes
    stderr: bytes
    truncated: bool


class Hello(msgspec.Struct, frozen=True):
    """What the host's shell is."""

    compressed: bool
    shell: str
    uptime: float
    process: Leftover


class _State(enum.Enum):
    NOISE = enum.auto()
    OUT = enum.auto()
    HEAD = enum.auto()
    ERR = enum.auto()
    GAP = enum.auto()  # the line end after a frame
    BYE = enum.auto()
    END = enum.auto()


class Reader:
    """Feed it what arrives; it gives complete frames, and knows where the stream stands."""

    def __init__(self, nonce: bytes, limits: Sequence[int]) -> None:
        """`limits` says how much of each probe's stdout is kept."""
        self.hello: Hello | None = None
        self.frames: list[Frame] = []
        self.cpu_seconds = 0.0  # the scan's, on the host
        self.received = 0  # bytes, as they came
        self._nonce = nonce
        self._limits = limits
        self._state = _State.NOISE
        self._rest = b""  # not yet understood
        self._inflate: zlib._Decompress | None = None
        self._total = 0
        self._kept: list[bytes] = []
        self._kept_size = 0
        self._size = 0  # of the running output, kept or not
        self._head = b""
        self._out = (b"", False)
        self.filter_ended = False  # the compressed part came to its proper end

    @property
    def ended(self) -> bool:
        """The stream came to its proper end."""
        return self._state is _State.END

    @property
    def exact(self) -> bool:
        """Where the stream stopped is where the host stopped: nothing sat in a filter."""
        return self.hello is not None and (not self.hello.compressed or self.filter_ended)

    def partial(self) -> bytes:
        """Return what the running probe had printed."""
        if self._state is _State.OUT:
            return (b"".join(self._kept) + self._rest)[: self._limit()]
        return self._out[0] if self._state in {_State.HEAD, _State.ERR} else b""

    def feed(self, data: bytes) -> None:
        """Take bytes as they came. Raise Broken, Flood."""
        self.received += len(data)
        self._take(data)

    def _take(self, data: bytes) -> None:
        if self._inflate is None:
            self._parse(data)
            return
        while self._inflate is not None and data:
            try:
                plain = self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise Broken(f"the compressed reply is damaged ({error})") from None
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data
                self._inflate = None
                self.filter_ended = True
                self._parse(plain + data)
                return
            self._parse(plain)

    def _parse(self, data: bytes) -> None:
        self._total += len(data)
        buffer = self._rest + data
        at = 0
        while True:
            state, start = self._state, at
            at = self._step(buffer, at)
            if self._inflate is not None and state is _State.NOISE:
                self._rest = b""
                self._take(buffer[at:])
                return
            if at == start and state is self._state:
                break
        self._rest = buffer[at:]
        if self._total > _TOTAL or self._size > _FLOOD:
            raise Flood

    def _step(self, buffer: bytes, at: int) -> int:
        """Understand one piece from `at`; return where the next begins, `at` if more is needed."""
        match self._state:
            case _State.OUT | _State.ERR:
                return self._output(buffer, at)
            case _State.HEAD:
                return self._line(buffer, at)
            case _State.NOISE:
                return self._greeting(buffer, at)
            case _State.BYE:
                return self._farewell(buffer, at)
            case _State.GAP if at < len(buffer):
                self._state = _State.OUT
                at += 1
            case _State.END:
                at = len(buffer)
        return at

    def _greeting(self, buffer: bytes, at: int) -> int:
        found = buffer.find(self._nonce + b" hello ", at)
        end = buffer.find(b"\n", found) if found >= 0 else -1
        if end < 0:
            if len(buffer) - at > _NOISE:
                raise Broken("the host printed 64 KiB before its shell answered")
            return at
        words = buffer[found:end].split()
        try:
            numbers = [int(word) for word in words[3:7]]
            self.hello = Hello(
                compressed=words[2] == b"gzip",
                shell=words[8].decode("utf-8", "replace")[:40] if len(words) > 8 else "",
                uptime=float(words[7]),
                process=Leftover(*numbers),
            )
        except (ValueError, IndexError, TypeError):
            raise Broken("the host's shell answered with a damaged greeting") from None
        self._state = _State.OUT
        if self.hello.compressed:
            self._inflate = zlib.decompressobj(wbits=31)
        return end + 1

    def _limit(self) -> int:
        if self._state is _State.ERR:
            return STDERR_LIMIT
        seq = len(self.frames)
        return self._limits[seq] if seq < len(self._limits) else 0

    def _output(self, buffer: bytes, at: int) -> int:
        """Keep output up to the nonce; of a nonce that may be split across reads keep the start."""
        found = buffer.find(self._nonce, at)
        end = found if found >= 0 else max(at, len(buffer) - len(self._nonce) + 1)
        if end > at:
            self._size += end - at
            wanted = min(end - at, self._limit() - self._kept_size)
            if wanted > 0:
                self._kept.append(buffer[at : at + wanted])
                self._kept_size += wanted
        if found < 0:
            return end
        text, cut = b"".join(self._kept), self._size > self._limit()
        self._kept, self._kept_size, self._size = [], 0, 0
        if self._state is _State.OUT:
            self._out = (text, cut)
            self._state = _State.HEAD
        else:
            self._finish(text)
            self._state = _State.GAP
        return found + len(self._nonce)

    def _line(self, buffer: bytes, at: int) -> int:
        end = buffer.find(b"\n", at)
        if end < 0:
            if len(buffer) - at > _LINE:
                raise Broken("a frame's head does not end")
            return at
        self._head = buffer[at:end]
        self._state = _State.BYE if self._head.strip() == b"bye" else _State.ERR
        return end + 1

    def _finish(self, stderr: bytes) -> None:
        words = self._head.split()
        try:
            seq, code, uptime = int(words[0]), int(words[1]), float(words[2])
        except (ValueError, IndexError):
            raise Broken("a frame's head is damaged") from None
        if seq != len(self.frames) or seq >= len(self._limits):
            raise Broken(f"frame {seq} came in the place of {len(self.frames)}")
        stdout, cut = self._out
        self.frames.append(Frame(seq, code, uptime, stdout, stderr, cut))
        self._out = (b"", False)

    def _farewell(self, buffer: bytes, at: int) -> int:
        end = buffer.find(self._nonce + b" end", at)
        if end < 0:
            if len(buffer) - at > _NOISE:
                raise Broken("the reply does not end")
            return at
        self.cpu_seconds = sum(_seconds(word) for word in buffer[at:end].split())
        self._state = _State.END
        return len(buffer)


def _seconds(word: bytes) -> float:
    """Return what `times` means by `1m2.34s`, 0 where it means nothing."""
    minutes, _, rest = word.partition(b"m")
    try:
        return int(minutes) * 60 + float(rest.rstrip(b"s"))
    except ValueError:
        return 0.0


def count(signs: bytes) -> int:
    """Return how many probes the last sign of life says are behind us."""
    last = signs.rstrip().rsplit(b"\n", 1)[-1]
    number = last.removeprefix(b"ow ")
    return int(number) + 1 if number.isdigit() else 0
