"""Log in: each secret is sent at most once, and only after the host's key was judged."""

from __future__ import annotations

from typing import NoReturn

import paramiko

from openwatch.errors import ConnectionLost, HostUnreachable, LoginRefused
from openwatch.ssh import keys
from openwatch.ssh.types import Login, Target


def log_in(
    target: Target, transport: paramiko.Transport, key: paramiko.PKey | None, where: str
) -> None:
    """Log in with the credential's own methods. Raise LoginRefused, HostUnreachable, ConnectionLost."""
    try:
        _try(target, transport, key, where)
    except paramiko.BadAuthenticationType as error:
        _refuse(target, where, f"it accepts only {', '.join(error.allowed_types)}")
    except paramiko.AuthenticationException as error:
        text = str(error)
        if "timeout" in text.lower():
            raise HostUnreachable(
                f"{where} did not answer the login within {target.login_timeout:g} s",
                host=target.name,
            ) from None
        if "EOF" in text:
            _ended(target, where, "closed without a word")
        _refuse(target, where, "")
    except (paramiko.SSHException, OSError, EOFError) as error:
        _ended(target, where, str(error) or type(error).__name__)
    if not transport.is_authenticated():
        _refuse(target, where, "it wants a further factor")


def _try(
    target: Target, transport: paramiko.Transport, key: paramiko.PKey | None, where: str
) -> None:
    """Send the key, and the password where there is no key or the host wants both."""
    login = target.login
    if key is not None:
        further = transport.auth_publickey(login.username, key)
        if transport.is_authenticated():
            return
        if login.password is None:
            _refuse(target, where, f"after the key it also wants {', '.join(further)}")
    if login.password is None:
        _refuse(target, where, "the credential holds neither a key nor a password")
    _password(transport, login)


def _password(transport: paramiko.Transport, login: Login) -> None:
    """Send the password, through keyboard-interactive where the host accepts only that."""
    password = login.password or ""
    try:
        transport.auth_password(login.username, password, fallback=False)
    except paramiko.BadAuthenticationType as error:
        if "keyboard-interactive" not in error.allowed_types:
            raise
    else:
        return
    answered = False

    def answer(_title: str, _text: str, prompts: list[tuple[str, bool]]) -> list[str]:
        nonlocal answered
        if not prompts:
            return []
        if answered or len(prompts) != 1 or prompts[0][1]:
            # A second question, or one whose answer is shown, is not for the password.
            return [""] * len(prompts)
        answered = True
        return [password]

    transport.auth_interactive(login.username, answer)


def _refuse(target: Target, where: str, more: str) -> NoReturn:
    login = target.login
    if login.private_key is not None:
        shown = keys.parse_private_key(login.private_key, login.passphrase).fingerprint
        what = f"the key {shown}"
        fix = "put its public half into the account's authorized_keys"
    else:
        what = "the password"
        fix = "check the password and that PasswordAuthentication is allowed"
    raise LoginRefused(
        f"{where} refused {what} of user {login.username!r}"
        f"{' (' + more + ')' if more else ''}: {fix}, and see that the account is not locked",
        host=target.name,
        username=login.username,
    )


def _ended(target: Target, where: str, why: str) -> NoReturn:
    raise ConnectionLost(
        f"{where} ended the connection during login ({why}): see MaxAuthTries, "
        "LoginGraceTime and the account's state on the host",
        host=target.name,
    ) from None
