"""Before anything is said to a host: is it sshd, does it speak as we do, and whose key is it."""

from __future__ import annotations

import socket

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from openwatch import clock
from openwatch.errors import HostKeyChanged, HostKeyUnknown, HostUnreachable
from openwatch.ssh import keys
from openwatch.ssh.types import HostKey, Target

_RSA = ("rsa-sha2-512", "rsa-sha2-256")


class Relayed:
    """A channel through a jump host, as the socket of the connection that goes through it."""

    def __init__(self, channel: paramiko.Channel) -> None:
        """Own the channel."""
        self._channel = channel
        self._peeked = b""

    def peek(self, size: int) -> bytes:
        """Return what has come first; `recv` returns it again."""
        self._peeked = self._peeked or self._channel.recv(size)
        return self._peeked

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        if self._peeked:
            first, self._peeked = self._peeked[:size], self._peeked[size:]
            return first
        return self._channel.recv(size)

    def send(self, data: bytes) -> int:
        """Return how many bytes were taken. Raise EOFError where the way there has ended."""
        taken = self._channel.send(data)
        if data and taken == 0:
            raise EOFError
        return taken

    def settimeout(self, seconds: float | None) -> None:
        """Limit how long one of the above waits."""
        self._channel.settimeout(seconds)

    def close(self) -> None:
        """End it."""
        self._channel.close()

    @property
    def _closed(self) -> bool:
        """What the library looks at while it waits for its thread, by a socket's own name for it."""
        return self._channel.closed


def first_words(
    target: Target, sock: socket.socket | Relayed, deadline: float, where: str
) -> bytes:
    """Return what the other side says first, without taking it from the socket."""
    sock.settimeout(max(0.1, deadline - clock.monotonic()))
    try:
        first = _peeked(sock)
    except TimeoutError:
        raise HostUnreachable(
            f"{where} accepted the connection but sent no SSH banner within "
            f"{target.connect_timeout:g} s: check that this port is sshd's and that the host "
            "is not overloaded",
            host=target.name,
        ) from None
    except OSError as error:
        raise HostUnreachable(
            f"{where} reset the connection before its SSH banner ({error.strerror}): "
            "see MaxStartups and PerSourcePenalties in its sshd_config",
            host=target.name,
        ) from None
    if not first:
        raise HostUnreachable(
            f"{where} closed the connection before its SSH banner: see MaxStartups, "
            "PerSourcePenalties and the host's address filters",
            host=target.name,
        )
    return first


def _peeked(sock: socket.socket | Relayed) -> bytes:
    return sock.peek(255) if isinstance(sock, Relayed) else sock.recv(255, socket.MSG_PEEK)


def negotiate(
    target: Target, transport: paramiko.Transport, deadline: float, first: bytes, where: str
) -> None:
    """Agree on keys within the deadline; the approved host key types are asked for first."""
    options = transport.get_security_options()
    known = [name for key in target.known for name in _algorithms(key.key_type)]
    preferred = [name for name in known if name in options.key_types]
    options.key_types = (*preferred, *(n for n in options.key_types if n not in preferred))
    left = max(0.1, deadline - clock.monotonic())
    transport.banner_timeout = transport.handshake_timeout = left
    transport.auth_timeout = target.login_timeout
    try:
        transport.start_client(timeout=left)
    except IncompatiblePeer as error:
        raise HostUnreachable(
            f"{where} offers no key exchange, cipher or host key type in common with us "
            f"({error}): it is too old or too restricted",
            host=target.name,
        ) from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        if b"SSH-" not in first:
            said = "".join(c for c in first[:60].decode("latin-1") if c.isprintable())
            why = (
                f"{where} does not speak SSH; it began with {said!r}: check the port, and where "
                "this is sshd's own refusal, MaxStartups and PerSourcePenalties"
            )
        else:
            why = f"{where} ended the SSH handshake ({error or type(error).__name__})"
        raise HostUnreachable(why, host=target.name) from None
    if not transport.initial_kex_done:
        raise HostUnreachable(
            f"{where} did not finish the SSH handshake within {target.connect_timeout:g} s",
            host=target.name,
        )


def _algorithms(key_type: str) -> tuple[str, ...]:
    """Return the signature algorithms of a key type."""
    return _RSA if key_type == "ssh-rsa" else (key_type,)


def judge_key(target: Target, transport: paramiko.Transport, where: str) -> HostKey:
    """Return the host's key where it is approved, or where policy takes the first one."""
    shown = transport.get_remote_server_key()
    key = keys.host_key(shown.get_name(), shown.asbytes())
    if any(known.public_key == key.public_key for known in target.known):
        return key
    if target.known:
        expected = ", ".join(f"{k.key_type} {k.fingerprint}" for k in target.known)
        raise HostKeyChanged(
            f"{where} shows the host key {key.key_type} {key.fingerprint}, approved is "
            f"{expected}: nothing was sent to it. Where the host was reinstalled, compare the "
            "fingerprint on its console and approve the new key; otherwise somebody may be "
            "listening",
            host=target.name,
            expected_fingerprint=target.known[0].fingerprint,
            actual_fingerprint=key.fingerprint,
            key=key,
        )
    if target.trust_first:
        return key
    raise HostKeyUnknown(
        f"{where} shows the host key {key.key_type} {key.fingerprint}, which nobody has "
        "approved: compare it with `ssh-keygen -lf` on the host's console and approve it",
        host=target.name,
        actual_fingerprint=key.fingerprint,
        key=key,
    )
