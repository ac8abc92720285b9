"""Reach a host over SSH: its key is judged before any secret is sent, and login is tried once."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Sequence
from typing import cast

import msgspec
import paramiko

from openwatch import clock
from openwatch.errors import (
    ConnectionLost,
    HostError,
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
)
from openwatch.ssh import keys
from openwatch.ssh.channel import RemoteChannel
from openwatch.ssh.handshake import Relayed, first_words, judge_key, negotiate
from openwatch.ssh.login import log_in
from openwatch.ssh.types import Channel, End, HostKey, Target

# The library logs whole tracebacks for every refused handshake; what matters is in our errors.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False

_WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-md5", "hmac-sha1-96", "hmac-md5-96"],
}
_PROHIBITED = 1  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, RFC 4254 section 5.1
_EXEC_TIMEOUT = 20.0  # seconds to open a channel and start a command


class RemoteSession:
    """An authenticated connection to a host. See ssh.types.Session."""

    def __init__(
        self,
        name: str,
        where: str,
        transports: tuple[paramiko.Transport, ...],
        ends: tuple[End, ...],
    ) -> None:
        """Own the transports, the host's own last: closing this closes them."""
        self._where = where
        self._name = name
        self._transports = transports
        self._transport = transports[-1]
        self._ends = ends
        self._opened = 0

    @property
    def name(self) -> str:
        """The host's name, for messages."""
        return self._name

    @property
    def channels_opened(self) -> int:
        """How many channels were opened on this connection."""
        return self._opened

    @property
    def host_key(self) -> HostKey | None:
        """The key the host showed."""
        return self._ends[-1].key

    @property
    def ends(self) -> tuple[End, ...]:
        """Who let us in: the jump hosts in order, then the host itself."""
        return self._ends

    def open(self, command: str) -> Channel:
        """Start a command, given to the login user's shell. Raise ConnectionLost."""
        # The library waits without limit for the answer to an exec request.
        limit = threading.Timer(_EXEC_TIMEOUT, self._transport.close)
        limit.daemon = True
        limit.start()
        try:
            channel = self._transport.open_session(timeout=_EXEC_TIMEOUT)
            channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionLost(
                f"{self._where} accepted the login but started no command within "
                f"{_EXEC_TIMEOUT:.0f} s ({error or type(error).__name__}): see that the account "
                "has a shell and MaxSessions is above 0",
                host=self._name,
            ) from None
        finally:
            limit.cancel()
        self._opened += 1
        return RemoteChannel(channel, self._transport, self._name, self._where)

    def cut(self) -> None:
        """End what another thread waits for here, at once: to it the connection is lost."""
        with contextlib.suppress(OSError):
            self._transports[0].sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection and its thread, and those of the way there."""
        _close(self._transports)


class _Hop(msgspec.Struct, frozen=True):
    """One end to log in to: a host on the way, or the host itself."""

    target: Target
    where: str  # for messages
    signers: tuple[paramiko.PKey, ...]
    is_jump: bool


def connect(target: Target) -> RemoteSession:
    """Return an authenticated connection.

    Raise HostUnreachable, HostKeyUnknown or HostKeyChanged (nothing was authenticated; the key is
    in `detail` as `key`, or as `jump_key` where a jump host showed it), LoginRefused,
    ConnectionLost, and InvalidInput for a private key or certificate that cannot be used. `ends` in
    a HostError's detail holds those that had let us in before.
    """
    transports: list[paramiko.Transport] = []
    ends: list[End] = []
    try:
        for hop in _hops(target):
            transport, end = _reach(hop, transports[-1] if transports else None)
            transports.append(transport)
            ends.append(end)
    except BaseException as failure:
        _close(transports)
        if isinstance(failure, HostError):
            failure.detail["ends"] = tuple(ends)
        raise
    return RemoteSession(target.name, hop.where, tuple(transports), tuple(ends))


def _hops(target: Target) -> list[_Hop]:
    """Return the ends to log in to, in order; a bad key is told before the network is touched."""
    ends = [
        msgspec.structs.replace(
            target,
            address=jump.address,
            port=jump.port,
            login=jump.login,
            known=jump.known,
            trust_first=jump.trust_first,
            hint=jump.hint,
            jumps=(),
        )
        for jump in target.jumps
    ]
    names = [place(end.address, end.port) for end in [*ends, target]]
    for number, jump in enumerate(target.jumps):
        if jump.name:
            names[number] = f"{jump.name} ({names[number]})"
    hops = []
    for number, end in enumerate([*ends, target]):
        is_jump = number < len(ends)
        through = f" (through {', '.join(names[:number])})" if number else ""
        where = f"{'jump host ' if is_jump else ''}{names[number]}{through}"
        hops.append(_Hop(end, where, keys.signers(end.login), is_jump))
    return hops


def _reach(hop: _Hop, before: paramiko.Transport | None) -> tuple[paramiko.Transport, End]:
    """Log in to one end, over the network or through the end before it."""
    target, where = hop.target, hop.where
    deadline = clock.monotonic() + target.connect_timeout
    sock = _dial(target, where) if before is None else _relay(target, where, before)
    transport = None
    try:
        first = first_words(target, sock, deadline, where)
        # What the library asks of a socket is what Relayed has.
        transport = paramiko.Transport(cast("socket.socket", sock), disabled_algorithms=_WEAK)
        negotiate(target, transport, deadline, first, where)
        key = judge_key(target, transport, where)
        methods = log_in(target, transport, hop.signers, where)
    except BaseException as error:
        if hop.is_jump and isinstance(error, HostKeyUnknown | HostKeyChanged):
            # Under this name it would be taken for a key of the host that was asked for.
            error.detail["jump_key"] = error.detail.pop("key")
        if transport is not None:
            transport.close()
        sock.close()
        raise
    return transport, End(key, methods)


def _close(transports: Sequence[paramiko.Transport]) -> None:
    for transport in reversed(transports):
        transport.close()


def place(address: str, port: int) -> str:
    """Return `address:port`, bracketed for IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _relay(target: Target, where: str, before: paramiko.Transport) -> Relayed:
    """Have the end before connect to this one, and return the way through."""
    try:
        channel = before.open_channel(
            "direct-tcpip",
            (target.address, target.port),
            ("127.0.0.1", 0),
            timeout=target.connect_timeout,
        )
    except paramiko.ChannelException as refused:
        if refused.code == _PROHIBITED:
            why = (
                "does not forward to it: see AllowTcpForwarding, PermitOpen and authorized_keys"
            )
        else:
            why = (
                f"cannot reach it ({refused.text}): check the address and the route from there"
            )
    except (paramiko.SSHException, OSError, EOFError) as error:
        why = f"did not connect to it ({error or type(error).__name__})"
    else:
        return Relayed(channel)
    raise HostUnreachable(f"{where}: the last jump host before it {why}", host=target.name)


def _dial(target: Target, where: str) -> socket.socket:
    try:
        sock = socket.create_connection(
            (target.address, target.port), timeout=target.connect_timeout
        )
    except socket.gaierror as error:
        why = f"the name {target.address!r} does not resolve ({error.strerror}): check the address"
    except TimeoutError:
        why = (
            f"{where} did not answer within {target.connect_timeout:g} s: check the address, "
            "the route and the firewall"
        )
    except ConnectionRefusedError:
        why = f"{where} refused the connection: check that sshd runs and listens on this port"
    except (OSError, UnicodeError) as error:
        why = f"{where} cannot be reached ({getattr(error, 'strerror', None) or error})"
    else:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    raise HostUnreachable(why, host=target.name, address=target.address, port=target.port)
