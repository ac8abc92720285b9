"""Start the shell that will be asked, as root where that was chosen. One attempt, never two."""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import NoReturn

from openwatch import clock
from openwatch.errors import (
    ConnectionLost,
    HostError,
    LoginRefused,
    PrivilegeRefused,
    ScanTimeout,
)
from openwatch.scans import wire
from openwatch.ssh.types import Channel, Privilege, Session

_NOISE = 64 * 1024  # bytes of greetings that may come first
_PATIENCE = 30.0  # seconds for a login shell and sudo to start one command
_SUDOERS = "a sudoers line such as `USER ALL=(root) NOPASSWD: /bin/sh, /usr/bin/sh`"


def boot(
    session: Session,
    privilege: Privilege,
    sudo_password: str | None,
    patience: float = _PATIENCE,
) -> tuple[Channel, bool]:
    """Return a channel whose shell waits for its first line, and whether its script may be packed.

    Raise PrivilegeRefused, LoginRefused where the account has no shell, ScanTimeout,
    ConnectionLost. A password is sent only in answer to a prompt that nobody else could have
    made, and the script only after the shell itself has answered.
    """
    if privilege is not Privilege.SUDO_PASSWORD:
        channel = session.open(wire.boot_command(privilege))
        start = _Start(session, channel, privilege, wire.READY, patience)
    else:
        if not sudo_password or "\n" in sudo_password:
            raise PrivilegeRefused(
                "sudo with a password was chosen, but the credential holds none that can be "
                "typed on one line: store it with the credential",
                host=session.name,
            )
        prompt = f"OWP{secrets.token_hex(16)}:"
        ready = f"{wire.READY}{secrets.token_hex(8)}"
        channel = session.open(wire.boot_command(privilege, ready, prompt))
        start = _Start(session, channel, privilege, ready, patience)
        start.expect_prompt(prompt, sudo_password)
    try:
        packed = start.finish()
    except BaseException as failure:
        if isinstance(failure, HostError):  # the host may have counted a refused password
            failure.detail["password_sent"] = start.password_sent
        channel.shut()
        channel.close()
        raise
    return channel, packed


class _Start:
    """The wait for the shell's own word."""

    def __init__(
        self,
        session: Session,
        channel: Channel,
        privilege: Privilege,
        ready: str,
        patience: float,
    ) -> None:
        self._session = session
        self._channel = channel
        self._privilege = privilege
        self._ready = ready.encode() + b"\n"
        self._patience = patience
        self._until = clock.monotonic() + patience
        self._prompt = b""
        self._password: str | None = None
        self.password_sent = False

    def expect_prompt(self, prompt: str, password: str) -> None:
        """Answer the prompt, should it come, once."""
        self._prompt = prompt.encode()
        self._password = password

    def finish(self) -> bool:
        """Return when the shell has answered, and whether its script may be compressed."""
        seen = b""
        pause = 0.02 if self._prompt else 1.0  # the prompt comes on the other stream
        while self._ready not in seen:
            left = self._until - clock.monotonic()
            if left <= 0:
                self._silent()
            try:
                data = self._channel.receive(65536, min(left, pause))
            except TimeoutError:
                self._answer()
                continue
            if not data:
                self._ended()
            seen += data
            if len(seen) > _NOISE:
                raise ConnectionLost(
                    "the login shell printed more than 64 KiB before it ran anything: look at "
                    "the account's start-up files",
                    host=self._session.name,
                )
            self._answer()
        return wire.takes_packed(seen, self._ready.strip())

    def _answer(self) -> None:
        """Send the password at the first prompt; a second one is a refusal."""
        if not self._prompt:
            return
        asked = self._channel.errors().count(self._prompt)
        if self._password is not None and asked:
            password, self._password = self._password, None
            self.password_sent = True
            self._channel.send(password.encode() + b"\n")
        elif asked > 1:
            self._hang_up()
            self._refused("it did not accept the stored password")

    def _hang_up(self) -> None:
        """Kill the sudo that asks again.

        The end of its input would be one more refused attempt for the host's lock-out counter.
        sudo keeps the login user as its real user while it asks, so that user may kill it.
        """
        told = re.findall(
            re.escape(self._ready.strip()) + rb" pid (\d+)", self._channel.errors()
        )
        if told:
            with contextlib.suppress(HostError, TimeoutError):
                killer = self._session.open(f"kill -9 {int(told[-1])}")
                killer.exit_status(5.0)
                killer.close()

    def _ended(self) -> NoReturn:
        """Say why the shell ended before it answered."""
        status = self._channel.exit_status(2.0)
        said = _excerpt(self._channel.errors(), self._prompt)
        if status is None:
            raise ConnectionLost(
                f"the session ended before its shell answered{said}", host=self._session.name
            )
        if self._privilege in {Privilege.SUDO, Privilege.SUDO_PASSWORD}:
            if self.password_sent:
                self._refused(f"it did not accept the stored password{said}")
            self._refused(f"exit status {status}{said}")
        raise LoginRefused(
            f"the login works, but the account's shell ran nothing (exit status {status}{said}): "
            "give it a login shell, and remove what ends its start-up files early",
            host=self._session.name,
        )

    def _silent(self) -> NoReturn:
        if self._prompt:
            self._hang_up()
        if self._prompt and self._password is not None:
            self._refused("it never showed the prompt it was told to; no password was sent")
        raise ScanTimeout(
            f"the login shell started nothing within {self._patience:g} s: look at the account's "
            "start-up files, and at sudo's and PAM's modules",
            host=self._session.name,
        )

    def _refused(self, why: str) -> NoReturn:
        fix = (
            "check the password and that the account is not locked; it is not tried again"
            if self._prompt
            else f"allow it with {_SUDOERS}, store a sudo password where policy permits, "
            "or scan without root"
        )
        raise PrivilegeRefused(f"sudo refused ({why}): {fix}", host=self._session.name)


def _excerpt(errors: bytes, prompt: bytes) -> str:
    """Return `: ` and the line that says most, printable and short; "" where there is none."""
    if prompt:
        errors = errors.replace(prompt, b"\n")
    text = errors.decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "sudo" in line] or lines
    if not telling:
        return ""
    return ": " + "".join(c for c in telling[-1] if c.isprintable())[:200]
