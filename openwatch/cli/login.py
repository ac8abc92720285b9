"""Who `openwatch check` logs in as, with what, and which host key it accepts."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from openwatch import errors
from openwatch.cli import UsageError, complain, secrets
from openwatch.cli.jumps import jumps
from openwatch.ssh import keys
from openwatch.ssh.connect import connect
from openwatch.ssh.known_hosts import default_files, known_keys
from openwatch.ssh.local import local_session
from openwatch.ssh.types import HostKey, Login, Privilege, Session, Target

_USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_LARGEST_KEY = 64 * 1024


class Way(msgspec.Struct, frozen=True):
    """How a host will be asked. `target` is None for this machine."""

    name: str
    privilege: Privilege
    target: Target | None = None
    accepted: str = ""  # the fingerprint given with --accept-key
    sudo_password: str | None = None

    def __repr__(self) -> str:
        """Name the host, never the password."""
        return f"Way({self.name!r})"


def way(arguments: Mapping[str, Any]) -> Way:
    """Return how to reach the host the arguments name. Raise UsageError."""
    sudo_password = _sudo_password(arguments)
    if arguments["--local"]:
        is_root = os.geteuid() == 0
        return Way(
            os.uname().nodename,
            _privilege(arguments, is_root, sudo_password),
            sudo_password=sudo_password,
        )
    user, _, host = arguments["--host"].rpartition("@")
    user = arguments["--user"] or user or getpass.getuser()
    accepted = _fingerprint(arguments["--accept-key"])
    port = _port(arguments["--port"])
    privilege = _privilege(arguments, user == "root", sudo_password)
    login = _login(arguments, user, f"{user}@{host}")
    files = arguments["--known-hosts"]
    target = Target(
        name=host,
        address=host,
        port=port,
        login=login,
        known=() if accepted else _known(files, host, port),
        privilege=privilege,
        sudo_password=sudo_password,
        jumps=jumps(arguments["--jump"], login, lambda name, at: _known(files, name, at)),
    )
    return Way(host, privilege, target, accepted, sudo_password)


def open_session(chosen: Way) -> Session:
    """Connect. Raise HostError, with how to accept a key that is not known."""
    if chosen.target is None:
        return local_session(chosen.name)
    try:
        return connect(chosen.target)
    except errors.HostKeyUnknown as unknown:
        key = unknown.detail.get("key")
        if not isinstance(key, HostKey):
            raise
        if not chosen.accepted:
            raise errors.HostKeyUnknown(
                f"{unknown.message}. To go on once you have compared it: --accept-key {key.fingerprint}"
            ) from None
        if key.fingerprint != chosen.accepted:
            raise errors.HostKeyChanged(
                f"the host shows {key.key_type} {key.fingerprint}, not the key given with"
                f" --accept-key ({chosen.accepted}); nothing was sent to it",
                host=chosen.name,
            ) from None
        return connect(msgspec.structs.replace(chosen.target, known=(key,)))


def _privilege(arguments: Mapping[str, Any], is_root: bool, password: str | None) -> Privilege:
    if is_root:
        return Privilege.ROOT
    if not arguments["--sudo"]:
        return Privilege.NONE
    return Privilege.SUDO if password is None else Privilege.SUDO_PASSWORD


def _sudo_password(arguments: Mapping[str, Any]) -> str | None:
    given = secrets.from_variable("OPENWATCH_SUDO_PASSWORD")
    file = arguments["--sudo-password-file"]
    if not arguments["--sudo"]:
        if file or arguments["--ask-sudo-password"]:
            raise UsageError("a password for sudo needs --sudo as well")
        return None
    if file:
        return secrets.from_file(file)
    if arguments["--ask-sudo-password"]:
        return secrets.asked("Password for sudo: ", "use --sudo-password-file")
    return given


def _login(arguments: Mapping[str, Any], user: str, who: str) -> Login:
    password = secrets.from_variable("OPENWATCH_SSH_PASSWORD")
    passphrase = secrets.from_variable("OPENWATCH_SSH_PASSPHRASE")
    if arguments["--login-password-file"]:
        password = secrets.from_file(arguments["--login-password-file"])
    elif arguments["--ask-password"]:
        password = secrets.asked(f"Password of {who}: ", "use --login-password-file")
    file = _key_file(arguments["--key"], wanted=password is None)
    if file is None:
        if password is None:
            instead = "give --key or --login-password-file"
            password = secrets.asked(f"Password of {who}: ", instead)
        if arguments["--certificate"]:
            raise UsageError("--certificate needs the private key it belongs to (--key)")
        return Login(user, password=password)
    text = _key_text(file, "private key")
    certificate = _certificate(arguments["--certificate"], file)
    found = Login(user, password, text, _passphrase(file, text, passphrase), certificate)
    try:
        keys.signers(found)
    except errors.InvalidInput as wrong:
        if certificate is None or arguments["--certificate"]:
            raise UsageError(f"{arguments['--certificate'] or file}: {wrong.message}") from None
        complain(f"{file}-cert.pub is left out: {wrong.message}")
        return msgspec.structs.replace(found, certificate=None)
    return found


def _passphrase(file: Path, text: str, given: str | None) -> str | None:
    """Return the passphrase that the key needs, None where it needs none. Raise UsageError."""
    try:
        keys.parse_private_key(text)
    except errors.InvalidInput as wrong:
        if not wrong.detail.get("is_encrypted"):
            raise UsageError(f"{file}: {wrong.message}") from None
        if given is None:
            instead = "put it into OPENWATCH_SSH_PASSPHRASE"
            given = secrets.asked(f"Passphrase of {file}: ", instead)
        _require_opens(file, text, given)
        return given
    return None


def _certificate(given: str | None, key: Path) -> str | None:
    """Return the certificate that was named, or the one beside the key."""
    beside = Path(f"{key}-cert.pub")
    if given is None and not beside.is_file():
        return None
    return _key_text(Path(given).expanduser() if given else beside, "certificate")


def _require_opens(file: Path, text: str, passphrase: str) -> None:
    try:
        keys.parse_private_key(text, passphrase)
    except errors.InvalidInput as wrong:
        raise UsageError(f"{file}: {wrong.message}") from None


def _key_file(given: str | None, *, wanted: bool) -> Path | None:
    if given:
        return Path(given).expanduser()
    if not wanted:
        return None
    folder = Path("~/.ssh").expanduser()
    return next((folder / n for n in _USUAL_KEYS if (folder / n).is_file()), None)


def _key_text(file: Path, what: str) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_LARGEST_KEY + 1).decode()
    except OSError as why:
        raise UsageError(f"{file}: the {what} cannot be read: {why.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: is not a {what} in text form") from None


def _known(given: str | None, host: str, port: int) -> tuple[HostKey, ...]:
    files = (Path(given).expanduser(),) if given else default_files()
    try:
        return known_keys(files, host, port, must_exist=given is not None)
    except errors.ConfigError as why:
        raise UsageError(why.message) from None


def _port(text: str | None) -> int:
    if text is None:
        return 22
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise UsageError(f"--port must be a number from 1 to 65535, not {text!r}")
    return int(text)


def _fingerprint(text: str | None) -> str:
    if text is None:
        return ""
    full = text.rstrip("=")
    if not _FINGERPRINT.fullmatch(full):
        raise UsageError(
            "--accept-key must be a fingerprint as `ssh-keygen -l` prints it:"
            " SHA256: and 43 characters"
        )
    return full
