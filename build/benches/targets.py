"""Hosts that answer a scan with what this machine once answered, as cheaply as they can.

A recording is one real scan of this machine by all rules that apply to it. The program serves it on
many addresses of the loopback, each with a host key and a name of its own: it looks whether it is
asked the same questions, puts the scan's nonces into the reply, and compresses that anew. It runs
as a process, so that its work is not the controller's.
"""

from __future__ import annotations

import io
import logging
import re
import selectors
import socket
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "build")]

import msgspec  # noqa: E402
import paramiko  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402
from paramiko import common  # noqa: E402

from openwatch.rules import capabilities  # noqa: E402
from openwatch.rules.types import Corpus  # noqa: E402
from openwatch.scans.collect import Conversation  # noqa: E402
from openwatch.scans.inventory import look  # noqa: E402
from openwatch.scans.plan import plan  # noqa: E402
from openwatch.ssh import keys  # noqa: E402
from openwatch.ssh.local import local_session  # noqa: E402
from openwatch.ssh.types import Channel, HostKey, Privilege, Session  # noqa: E402

_GZIP = 31  # of zlib's wbits
_NONCE = rb"OW[0-9a-f]{32}"
_HELLO = re.compile(rb"(" + _NONCE + rb") hello gzip [^\n]*\n")
_OWN = re.compile(rb"\now_n=(" + _NONCE + rb")\n")
_SECRET = re.compile(rb"OW=(" + _NONCE + rb") cat")
_ASKED = re.compile(rb"D echo (" + _NONCE + rb");")
_PATIENCE = 30.0  # seconds


class Recording(msgspec.Struct, frozen=True):
    """A scan as it went over the wire, its nonces as they were then."""

    rules: int
    hostname: str
    detected: bytes  # the answer to the detection line
    script: bytes
    nonce: bytes
    secret: bytes  # between the contents of files that were asked for together
    greeting: bytes
    answers: bytes  # what the filter was given
    farewell: bytes


def record(corpus: Corpus) -> Recording:
    """Scan this machine and return what was said."""
    names = capabilities.needed(corpus)
    tap = _Tap(local_session("bench"))
    talk = Conversation(tap, Privilege.NONE)  # as whoever runs the bench
    try:
        talk.start()
        detection = capabilities.detection_probe(names)
        detected = talk.detect(detection.script)
        facts = capabilities.parse(detected, names)
        planned = plan(corpus, facts)
        got = talk.ask([detection, *planned.probes, *look.probes(facts)])
    finally:
        talk.close()
        tap.close()
    if got.incomplete or got.wire.resumes:
        raise RuntimeError(
            "this machine did not answer in one trip: there is nothing to replay"
        )
    script = _unpacked(tap.sent.rpartition(b"OW1z\n")[2])
    told = _HELLO.search(tap.received)
    own, secret = _OWN.search(script), _SECRET.search(script)
    if told is None or own is None or own[1] != told[1] or secret is None:
        raise RuntimeError("the scan did not go over the wire as scans.wire says")
    inflate = zlib.decompressobj(wbits=_GZIP)
    return Recording(
        rules=len(planned.steps),
        hostname=facts.hostname,
        detected=detected,
        script=script,
        nonce=own[1],
        secret=secret[1],
        greeting=told[0],
        answers=inflate.decompress(tap.received[told.end() :]),
        farewell=inflate.unused_data,
    )


class _Tap:
    """A session that keeps what passes through its one channel."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._channel: Channel | None = None
        self.name = session.name
        self.host_key = session.host_key
        self.sent = self.received = b""

    @property
    def channels_opened(self) -> int:
        return self._session.channels_opened

    def open(self, command: str) -> Self:
        self._channel = self._session.open(command)
        return self

    def send(self, data: bytes) -> None:
        assert self._channel is not None
        self.sent += data
        self._channel.send(data)

    def receive(self, size: int, timeout: float) -> bytes:
        assert self._channel is not None
        data = self._channel.receive(size, timeout)
        self.received += data
        return data

    def shut(self) -> None:
        assert self._channel is not None
        self._channel.shut()

    def errors(self) -> bytes:
        assert self._channel is not None
        return self._channel.errors()

    def exit_status(self, timeout: float) -> int | None:
        assert self._channel is not None
        return self._channel.exit_status(timeout)

    def cut(self) -> None:
        self._session.cut()

    def close(self) -> None:
        (self._channel or self._session).close()
        self._channel = None


class Reply:
    """One host's side of the recording."""

    def __init__(self, recording: Recording, name: str) -> None:
        """`name` is what the host calls itself."""
        was, now = (f"\nn {one} ".encode() for one in (recording.hostname, name))
        self._script = recording.script
        self._old = (recording.nonce, recording.secret)
        self.detected = recording.detected.replace(was, now)
        self._greeting, self._farewell = recording.greeting, recording.farewell
        self._answers = recording.answers.replace(was, now)

    def to(self, script: bytes) -> bytes:
        """Return the reply to a script. Raise ValueError where it asks anything else."""
        own, secret = _OWN.search(script), _SECRET.search(script)
        if own is None or secret is None:
            raise ValueError("the script has no nonce")
        new = (own[1], secret[1])
        if _exchanged(script, new, self._old) != self._script:
            raise ValueError("the script asks other questions than were recorded")
        pack = zlib.compressobj(1, wbits=_GZIP)
        packed = pack.compress(_exchanged(self._answers, self._old, new)) + pack.flush()
        around = (_exchanged(part, self._old, new) for part in (self._greeting, self._farewell))
        return packed.join(around)


def _exchanged(text: bytes, old: tuple[bytes, ...], new: tuple[bytes, ...]) -> bytes:
    for one, other in zip(old, new, strict=True):
        text = text.replace(one, other)
    return text


def _unpacked(data: bytes) -> bytes:
    return zlib.decompress(data, wbits=_GZIP)


class _Host(paramiko.ServerInterface):
    """One connection's server: a key that may log in, and the boot shell's part of a scan."""

    def __init__(self, reply: Reply, user: bytes) -> None:
        self._reply = reply
        self._user = user

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002 - the library's signature
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:  # noqa: ARG002
        is_user = key.asbytes() == self._user
        return common.AUTH_SUCCESSFUL if is_user else common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        is_session = kind == "session"
        return (
            common.OPEN_SUCCEEDED
            if is_session
            else common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        )

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if b"OW1z" not in command:
            return False
        threading.Thread(target=self._talk, args=(channel,), daemon=True).start()
        return True

    def _talk(self, channel: paramiko.Channel) -> None:
        status = 1
        try:
            channel.settimeout(_PATIENCE)
            channel.sendall(b"OW1z\nOW1\n")
            channel.sendall(self._reply.to(self._asked(channel)))
            status = 0
        except (ValueError, OSError, zlib.error) as error:
            print(f"a target gave no answer: {error}", file=sys.stderr, flush=True)
        finally:
            channel.send_exit_status(status)
            channel.close()

    def _asked(self, channel: paramiko.Channel) -> bytes:
        """Answer detection lines until the script follows, and return that."""
        heard = b""
        while not heard.startswith(b"OW1z\n"):
            line, end, rest = heard.partition(b"\n")
            if end:
                told = _ASKED.match(line)
                if told is None:
                    raise ValueError("a line is not a detection line")
                channel.sendall(told[1] + b"\n" + self._reply.detected + told[1] + b"\n")
                heard = rest
            else:
                heard += _more(channel)
        while data := channel.recv(1 << 16):
            heard += data
        return _unpacked(heard.removeprefix(b"OW1z\n"))


def _more(channel: paramiko.Channel) -> bytes:
    data = channel.recv(1 << 16)
    if not data:
        raise ValueError("the connection ended before there was a script")
    return data


class Door(msgspec.Struct, frozen=True):
    """Where a target is."""

    name: str
    address: str
    port: int
    key: HostKey


class Targets:
    """The program, in front of a recording: `count` hosts until it is left."""

    def __init__(self, folder: Path, recording: Recording, count: int, user: bytes) -> None:
        """`user` is the public key that may log in; `folder` is for what the program needs."""
        self._recording = folder / "recording"
        self._recording.write_bytes(msgspec.msgpack.encode((recording, user)))
        self._command = [sys.executable, str(Path(__file__)), str(self._recording), str(count)]
        self._process: subprocess.Popen[bytes] | None = None
        self.doors: tuple[Door, ...] = ()

    @property
    def pid(self) -> int:
        """The process, for what it costs."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        """Return when all of them listen; `doors` says where."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.doors = msgspec.json.decode(line, type=tuple[Door, ...])
        return self

    def __exit__(self, *_: object) -> None:
        """End the program: it does with its standard input."""
        assert self._process is not None
        self._process.communicate()


def serve(path: str, count: int) -> None:
    """Be all targets until standard input ends."""
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # that a caller hung up is no news
    recording, user = msgspec.msgpack.decode(
        Path(path).read_bytes(), type=tuple[Recording, bytes]
    )
    listeners = selectors.DefaultSelector()
    doors = []
    for number in range(count):
        name, address = f"target-{number:03}", f"127.77.{number // 250}.{number % 250 + 1}"
        key = _new_key()
        listener = socket.create_server((address, 0), backlog=16)
        listeners.register(listener, selectors.EVENT_READ, (Reply(recording, name), key))
        shown = keys.host_key(key.get_name(), key.asbytes())
        doors.append(Door(name, address, listener.getsockname()[1], shown))
    print(msgspec.json.encode(doors).decode(), flush=True)
    threading.Thread(target=_accept, args=(listeners, user), daemon=True).start()
    sys.stdin.buffer.read()


def _new_key() -> paramiko.PKey:
    private = Ed25519PrivateKey.generate()
    return paramiko.Ed25519Key.from_private_key(io.StringIO(openssh(private)))


def openssh(private: Ed25519PrivateKey) -> str:
    """Return a private key in OpenSSH's own form."""
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()


def _accept(listeners: selectors.BaseSelector, user: bytes) -> None:
    while True:
        for ready, _ in listeners.select():
            caller, _ = ready.fileobj.accept()  # type: ignore[union-attr]
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reply, key = ready.data
            transport = paramiko.Transport(caller)
            transport.add_server_key(key)
            # With an event it does not wait: the handshake belongs to the transport's own thread.
            transport.start_server(event=threading.Event(), server=_Host(reply, user))


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
