"""The proxy that stands for a long way, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.ssh.delay import FIRST_WINDOW, Delay

RTT = 0.08


@pytest.fixture
def echo() -> Iterator[int]:
    """A port that answers each connection with all it was sent, once that has ended."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                data = b""
                while part := connection.recv(65536):
                    data += part
                connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


def asked(port: int, size: int) -> float:
    """Return the seconds that an echo of so many bytes took, connection included."""
    begun = time.monotonic()
    sent = bytes(n % 251 for n in range(size))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        got = b""
        while part := sock.recv(65536):
            got += part
    assert got == sent
    return time.monotonic() - begun


@pytest.mark.parametrize(
    ("size", "rtts"),
    [
        (100, 2),  # the handshake, then there and back
        (FIRST_WINDOW * 7, 6),  # two more each way for a message of three flights
    ],
)
def test_an_echo_takes_the_round_trips_that_it_would_take(echo: int, size: int, rtts: int):
    with Delay(echo, RTT) as there:
        # The quickest of five: a busy machine adds to it and never takes away.
        took = min(asked(there.port, size) for _ in range(5)) / RTT
    assert rtts <= took + 0.01 <= rtts + 0.9


def test_without_delay_it_costs_next_to_nothing(echo: int):
    with Delay(echo, 0.0) as there:
        assert min(asked(there.port, 100_000) for _ in range(5)) < RTT


def test_an_upstream_that_refuses_ends_the_connection():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody listens there
        with (
            Delay(bound.getsockname()[1], 0.01) as there,
            socket.create_connection(("127.0.0.1", there.port), timeout=5) as sock,
        ):
            assert sock.recv(1) == b""
