"""A network of its own that goes away under a waiting and under a sending statement.

Run in a network namespace: its loopback is ours alone to take down. Prints the seconds that each
statement took to fail.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from openwatch import errors
from openwatch.db import Query
from openwatch.db import dsn as dsns
from openwatch.db.connect import open_database
from openwatch.db.embedded import Server, wheel_programs

_SET_FLAGS, _UP = 0x8914, 1  # SIOCSIFFLAGS and IFF_UP of Linux's if.h
_LIMITS = "&keepalives_idle=1&keepalives_interval=1&keepalives_count=1&tcp_user_timeout=2000"


def loopback(*, is_up: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", _UP if is_up else 0)
        fcntl.ioctl(any_socket, _SET_FLAGS, request)


def failing(server: Server, statement: str, *, cut_after: float) -> float:
    """Seconds from the cut until a statement that met it failed."""
    loopback(is_up=True)
    db = open_database(dsns.parse(server.dsn("postgres") + _LIMITS))
    with db.scope():
        db.value(Query("one", "", "SELECT 1"))
        cut = threading.Timer(cut_after, lambda: loopback(is_up=False))
        begun = time.monotonic()
        if cut_after:
            cut.start()
        else:
            loopback(is_up=False)
        try:
            db.value(Query("cut", "", statement))
        except errors.DatabaseUnavailable:
            return time.monotonic() - begun - cut_after
        raise AssertionError("the statement survived")


def main() -> None:
    loopback(is_up=True)
    server = Server(Path(sys.argv[1]) / "cluster", wheel_programs())
    server.start()
    try:
        print(failing(server, "SELECT pg_sleep(60)", cut_after=0.5))
        print(failing(server, "SELECT 1", cut_after=0.0))
    finally:
        server.stop()
        server.remove()


if __name__ == "__main__":
    main()
