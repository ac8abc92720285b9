"""What it takes to reach a host, and what a connection to it can do."""

from __future__ import annotations

import enum
from typing import Protocol
from uuid import UUID

import msgspec


class Privilege(enum.StrEnum):
    """How questions are asked as root."""

    NONE = "none"  # as the login user; some answers will be missing
    SUDO = "sudo"  # sudo -n
    SUDO_PASSWORD = "sudo_password"  # noqa: S105 - sudo -S, where policy allows it
    ROOT = "root"  # the login user is root


class Method(enum.StrEnum):
    """How a login may be proven."""

    CERTIFICATE = "certificate"  # the private key with its certificate
    KEY = "publickey"
    PASSWORD = "password"  # noqa: S105 - the name of a method
    INTERACTIVE = "keyboard-interactive"  # the password, as the answer to a question

    @property
    def wire(self) -> str:
        """What RFC 4252 calls it."""
        return Method.KEY.value if self is Method.CERTIFICATE else self.value


class HostKey(msgspec.Struct, frozen=True):
    """A public host key: `ssh-ed25519`, its wire bytes, and `SHA256:...`."""

    key_type: str
    public_key: bytes
    fingerprint: str


class Login(msgspec.Struct, frozen=True):
    """Who to log in as, and with what. Never logged, never encoded: its repr hides the secrets."""

    username: str
    password: str | None = None
    private_key: str | None = None
    passphrase: str | None = None
    certificate: str | None = None  # a `-cert.pub`; it may also stand below the private key

    def __repr__(self) -> str:
        """Show who, never what."""
        return f"Login({self.username!r})"


class Jump(msgspec.Struct, frozen=True):
    """A host on the way to another: its key is judged, and it is logged in to, just so."""

    address: str
    port: int
    login: Login
    known: tuple[HostKey, ...] = ()  # the approved keys; any other ends the way there
    name: str = ""  # for messages, where it has one besides its address
    trust_first: bool = False  # policy: accept its key where none is known yet
    hint: tuple[Method, ...] = ()  # what it accepted last time: tried first
    host: int | None = None  # which stored host it is
    credential: UUID | None = None  # what the login was stored as


class End(msgspec.Struct, frozen=True):
    """A host that let us in: the key it showed, and what it accepted, in order."""

    key: HostKey
    methods: tuple[Method, ...]


class Target(msgspec.Struct, frozen=True):
    """One host to connect to. Times are in seconds."""

    name: str  # for messages
    address: str
    port: int
    login: Login
    known: tuple[HostKey, ...] = ()  # the approved keys; any other stops the scan
    privilege: Privilege = Privilege.SUDO
    sudo_password: str | None = None
    trust_first: bool = False  # policy: accept the key where none is known yet
    connect_timeout: float = 10.0
    login_timeout: float = 20.0
    local: bool = (
        False  # this machine itself: no address, no login; only where scan.allow_local
    )
    jumps: tuple[Jump, ...] = ()  # the way there, the nearest first
    credential: UUID | None = None  # what the login was stored as
    hint: tuple[Method, ...] = ()  # what the host accepted last time: tried first

    def __repr__(self) -> str:
        """Show where, never the secrets."""
        return f"Target({self.name!r}, {self.address!r}, {self.port})"


class Channel(Protocol):
    """One running command: bytes in, bytes out."""

    def send(self, data: bytes) -> None:
        """Write all of it to the command's standard input. Raise ConnectionLost."""

    def shut(self) -> None:
        """Close the command's standard input."""

    def receive(self, size: int, timeout: float) -> bytes:
        """Return up to `size` bytes of standard output, b"" at its end.

        Raise TimeoutError where nothing came within `timeout` seconds, ConnectionLost.
        """

    def errors(self) -> bytes:
        """Return what has come on standard error so far (at most 8 KiB kept)."""

    def exit_status(self, timeout: float) -> int | None:
        """Return the exit status, None where none came within `timeout` seconds."""

    def close(self) -> None:
        """Let go of it; whatever still runs there gets a hang-up."""


class Session(Protocol):
    """An authenticated connection to a host, or this machine itself."""

    @property
    def name(self) -> str:
        """The host's name, for messages."""

    @property
    def channels_opened(self) -> int:
        """How many channels were opened on this connection."""

    @property
    def host_key(self) -> HostKey | None:
        """The key the host showed; None for this machine."""

    def open(self, command: str) -> Channel:
        """Start a command, given to the login user's shell. Raise ConnectionLost."""

    def cut(self) -> None:
        """End what another thread waits for here, at once: to it the connection is lost."""

    def close(self) -> None:
        """End the connection."""
