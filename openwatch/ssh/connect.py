"""Reach a host over SSH: its key is judged before any secret is sent, and login is tried once."""

from __future__ import annotations

import logging
import socket
import threading

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from openwatch import clock
from openwatch.errors import (
    ConnectionLost,
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
)
from openwatch.ssh import keys
from openwatch.ssh.channel import RemoteChannel
from openwatch.ssh.login import log_in
from openwatch.ssh.types import Channel, HostKey, Target

# The library logs whole tracebacks for every refused handshake; what matters is in our errors.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False

_WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-md5", "hmac-sha1-96", "hmac-md5-96"],
}
_RSA = ("rsa-sha2-512", "rsa-sha2-256")
_EXEC_TIMEOUT = 20.0  # seconds to open a channel and start a command


class RemoteSession:
    """An authenticated connection to a host. See ssh.types.Session."""

    def __init__(self, target: Target, transport: paramiko.Transport, key: HostKey) -> None:
        """Own the transport: closing this closes it."""
        self._where = _where(target)
        self._name = target.name
        self._transport = transport
        self._host_key = key
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
        return self._host_key

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

    def close(self) -> None:
        """End the connection and its thread."""
        self._transport.close()


def connect(target: Target) -> RemoteSession:
    """Return an authenticated connection.

    Raise HostUnreachable, HostKeyUnknown or HostKeyChanged (nothing was authenticated, the key is
    in `detail`), LoginRefused, ConnectionLost.
    """
    signer = None
    if target.login.private_key is not None:  # a bad key is told before the network is touched
        signer = keys.signer(target.login.private_key, target.login.passphrase)
    deadline = clock.monotonic() + target.connect_timeout
    sock = _dial(target)
    first = b""
    transport = None
    try:
        first = _first_words(target, sock, deadline)
        transport = paramiko.Transport(sock, disabled_algorithms=_WEAK)
        _negotiate(target, transport, deadline, first)
        key = _judge_key(target, transport)
        log_in(target, transport, signer, _where(target))
    except BaseException:
        if transport is not None:
            transport.close()
        sock.close()
        raise
    return RemoteSession(target, transport, key)


def _where(target: Target) -> str:
    """`address:port`, bracketed for IPv6."""
    address = f"[{target.address}]" if ":" in target.address else target.address
    return f"{address}:{target.port}"


def _dial(target: Target) -> socket.socket:
    where = _where(target)
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


def _first_words(target: Target, sock: socket.socket, deadline: float) -> bytes:
    """Return what the other side says first, without taking it from the socket."""
    where = _where(target)
    sock.settimeout(max(0.1, deadline - clock.monotonic()))
    try:
        first = sock.recv(255, socket.MSG_PEEK)
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


def _negotiate(
    target: Target, transport: paramiko.Transport, deadline: float, first: bytes
) -> None:
    """Agree on keys within the deadline; the approved host key types are asked for first."""
    options = transport.get_security_options()
    known = [name for key in target.known for name in _algorithms(key.key_type)]
    preferred = [name for name in known if name in options.key_types]
    options.key_types = (*preferred, *(n for n in options.key_types if n not in preferred))
    left = max(0.1, deadline - clock.monotonic())
    transport.banner_timeout = transport.handshake_timeout = left
    transport.auth_timeout = target.login_timeout
    where = _where(target)
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


def _judge_key(target: Target, transport: paramiko.Transport) -> HostKey:
    """Return the host's key where it is approved, or where policy takes the first one."""
    shown = transport.get_remote_server_key()
    key = keys.host_key(shown.get_name(), shown.asbytes())
    if any(known.public_key == key.public_key for known in target.known):
        return key
    if target.known:
        expected = ", ".join(f"{k.key_type} {k.fingerprint}" for k in target.known)
        raise HostKeyChanged(
            f"{_where(target)} shows the host key {key.key_type} {key.fingerprint}, approved is "
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
        f"{_where(target)} shows the host key {key.key_type} {key.fingerprint}, which nobody has "
        "approved: compare it with `ssh-keygen -lf` on the host's console and approve it",
        host=target.name,
        actual_fingerprint=key.fingerprint,
        key=key,
    )
