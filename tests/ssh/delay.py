"""A TCP proxy that stands for a long way: round-trip time, and a sender that must start slowly.

Each direction of each connection delays by half a round trip and keeps no more bytes on the way
than its congestion window: 10 segments of 1460 bytes at first (RFC 6928), doubled by each round
trip that used it (slow start), halved by each retransmission time-out that nothing was sent in
(RFC 2861). The opening handshake takes its round trip too. Nothing is lost, and bandwidth has no
limit of its own. It runs as a process, so that its work is not the caller's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Self

FIRST_WINDOW = 10 * 1460  # bytes
LEAST_TIMEOUT = (
    0.2  # seconds that Linux adds to the round trip before it takes a packet for lost
)


class Link:
    """One direction: bytes in, and the same bytes out when they have arrived. Times in seconds."""

    def __init__(self, rtt: float, ready: float = 0.0) -> None:
        """Nothing leaves before `ready`: the connection is not there yet."""
        self.rtt = rtt
        self.window = FIRST_WINDOW
        self._is_ready = False
        self._waiting = bytearray()
        self._on_the_way = 0
        self._sent = ready
        self._end: float | None = None
        self._arrivals: deque[tuple[float, bytes]] = deque()
        # when an acknowledgement comes, of how many bytes, and whether the window was in use
        self._acknowledgements: deque[tuple[float, int, bool]] = deque([(ready, 0, False)])

    def put(self, now: float, data: bytes) -> None:
        """Take bytes from the sender."""
        self._advance(now)
        self._waiting += data
        self._send(now)

    def take(self, now: float) -> bytes:
        """Return what has arrived by now."""
        self._advance(now)
        arrived = []
        while self._arrivals and self._arrivals[0][0] <= now:
            arrived.append(self._arrivals.popleft()[1])
        return b"".join(arrived)

    def end(self, now: float) -> None:
        """Take it from the sender that nothing more comes."""
        self._end = now + self.rtt / 2

    def has_ended(self, now: float) -> bool:
        """Return whether the end has arrived, behind all that was sent."""
        is_empty = not self._waiting and not self._arrivals
        return self._end is not None and now >= self._end and is_empty

    def due(self) -> float | None:
        """Return when there is something to do next; None where nothing is under way."""
        times = [queue[0][0] for queue in (self._arrivals, self._acknowledgements) if queue]
        if self._end is not None and not self._waiting and not self._arrivals:
            times.append(self._end)
        return min(times, default=None)

    def _advance(self, now: float) -> None:
        while self._acknowledgements and self._acknowledgements[0][0] <= now:
            when, size, was_used = self._acknowledgements.popleft()
            self._is_ready = True
            self._on_the_way -= size
            if was_used:
                self.window += size
            self._send(when)

    def _send(self, now: float) -> None:
        """Let go of what the window has room for."""
        if not self._waiting or not self._is_ready:
            return
        if not self._on_the_way:
            quiet = int((now - self._sent) / (self.rtt + LEAST_TIMEOUT))
            self.window = max(FIRST_WINDOW, self.window >> min(quiet, 32))
        room = self.window - self._on_the_way
        if room <= 0:
            return
        part = bytes(self._waiting[:room])
        del self._waiting[:room]
        self._on_the_way += len(part)
        self._sent = now
        was_used = 2 * self._on_the_way > self.window
        self._arrivals.append((now + self.rtt / 2, part))
        self._acknowledgements.append((now + self.rtt, len(part), was_used))


class Delay:
    """The proxy as a process of its own, in front of a port on the loopback.

    with Delay(port, rtt=0.04) as there: connect to there.port
    """

    def __init__(self, upstream: int, rtt: float) -> None:
        """`rtt` is in seconds."""
        self._command = [sys.executable, str(Path(__file__)), str(upstream), str(rtt)]
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()  # it ends with its standard input
        self._process = None


async def _read(reader: asyncio.StreamReader, link: Link, news: asyncio.Event) -> None:
    """Put what comes from one side on its way."""
    clock = asyncio.get_running_loop().time
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            link.put(clock(), data)
            news.set()
    link.end(clock())
    news.set()


async def _forward(link: Link, news: asyncio.Event, writer: asyncio.StreamWriter) -> None:
    """Hand over what has arrived, and the end after all of it."""
    clock = asyncio.get_running_loop().time
    with contextlib.suppress(OSError):
        while True:
            if data := link.take(clock()):
                writer.write(data)
                await writer.drain()
            if link.has_ended(clock()):
                break
            due = link.due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - clock())):
                    await news.wait()
            news.clear()
        if writer.can_write_eof():
            writer.write_eof()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link
) -> None:
    """Carry one direction to its end."""
    news = asyncio.Event()
    await asyncio.gather(_read(reader, link, news), _forward(link, news, writer))


async def _connection(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter], upstream: int, rtt: float
) -> None:
    begun = asyncio.get_running_loop().time()
    # SYN and SYN-ACK pass; then the caller may send, and the third part goes to the other side.
    await asyncio.sleep(1.5 * rtt)
    try:
        far = await asyncio.open_connection("127.0.0.1", upstream)
    except OSError:
        near[1].close()
        return
    try:
        await asyncio.gather(
            _carry(near[0], far[1], Link(rtt, begun + rtt)),
            _carry(far[0], near[1], Link(rtt, begun + 1.5 * rtt)),
        )
    finally:
        for _, writer in (near, far):
            writer.close()


async def _serve(upstream: int, rtt: float) -> None:
    running = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_connection((reader, writer), upstream, rtt))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    server.close()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream", type=int, help="the port on the loopback")
    parser.add_argument("rtt", type=float, help="round-trip time in seconds")
    given = parser.parse_args()
    asyncio.run(_serve(given.upstream, given.rtt))


if __name__ == "__main__":
    main()
