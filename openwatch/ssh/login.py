"""Log in: each secret is sent at most once, and only after the host's key was judged."""

from __future__ import annotations

from typing import NoReturn

import paramiko

from openwatch.errors import ConnectionLost, HostError, HostUnreachable, LoginRefused
from openwatch.ssh import certificates, keys
from openwatch.ssh.types import Target


def log_in(
    target: Target,
    transport: paramiko.Transport,
    signers: tuple[paramiko.PKey, ...],
    where: str,
) -> None:
    """Log in with the credential's own methods. Raise LoginRefused, HostUnreachable, ConnectionLost.

    `password_sent` in the error's detail says that the host may have counted a refused password.
    """
    attempt = _Attempt(target, transport, where)
    try:
        attempt.run(signers)
    except HostError as failure:
        failure.detail["password_sent"] = attempt.password_sent
        raise


class _Attempt:
    """One login to one end."""

    def __init__(self, target: Target, transport: paramiko.Transport, where: str) -> None:
        self._target = target
        self._login = target.login
        self._transport = transport
        self._where = where
        self.password_sent = False

    def run(self, signers: tuple[paramiko.PKey, ...]) -> None:
        """Log in, or raise."""
        try:
            self._try(signers)
        except paramiko.BadAuthenticationType as error:
            self.password_sent = False  # the host takes none, so it judged none
            self._refuse(f"it accepts only {', '.join(error.allowed_types)}")
        except paramiko.AuthenticationException as error:
            text = str(error)
            if "timeout" in text.lower():
                raise HostUnreachable(
                    f"{self._where} did not answer the login within "
                    f"{self._target.login_timeout:g} s",
                    host=self._target.name,
                ) from None
            if "EOF" in text:
                self._ended("closed without a word")
            self._refuse("")
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._ended(str(error) or type(error).__name__)
        if not self._transport.is_authenticated():
            self._refuse("it wants a further factor")

    def _try(self, signers: tuple[paramiko.PKey, ...]) -> None:
        """Send the key, and the password where there is no key or the host wants both."""
        if signers:
            further = self._key(signers)
            if self._transport.is_authenticated():
                return
            if self._login.password is None:
                self._refuse(f"after the key it also wants {', '.join(further)}")
        if self._login.password is None:
            self._refuse("the credential holds neither a key nor a password")
        self._password(self._login.password)

    def _key(self, signers: tuple[paramiko.PKey, ...]) -> list[str]:
        """Offer the key with its certificate, and where that is refused the key by itself."""
        *certified, plain = signers
        for signer in certified:
            try:
                return self._transport.auth_publickey(self._login.username, signer)
            except paramiko.BadAuthenticationType:
                raise
            except paramiko.AuthenticationException:
                if not self._transport.is_active():
                    raise
        return self._transport.auth_publickey(self._login.username, plain)

    def _password(self, password: str) -> None:
        """Send the password, through keyboard-interactive where the host accepts only that."""
        username = self._login.username
        self.password_sent = True
        try:
            self._transport.auth_password(username, password, fallback=False)
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

        self._transport.auth_interactive(username, answer)

    def _refuse(self, more: str) -> NoReturn:
        login = self._login
        if login.private_key is not None and not self.password_sent:
            shown = keys.parse_private_key(login.private_key, login.passphrase).fingerprint
            what = f"the key {shown}"
            fix = "put its public half into the account's authorized_keys"
            if login.certificate or certificates.within(login.private_key):
                what += ", with its certificate and without,"
                fix += " or let the host trust the certificate's signer (TrustedUserCAKeys)"
        else:
            what = "the password"
            fix = "check the password and that PasswordAuthentication is allowed"
        raise LoginRefused(
            f"{self._where} refused {what} of user {login.username!r}"
            f"{' (' + more + ')' if more else ''}: {fix}, and see that the account is not locked",
            host=self._target.name,
            username=login.username,
        )

    def _ended(self, why: str) -> NoReturn:
        raise ConnectionLost(
            f"{self._where} ended the connection during login ({why}): see MaxAuthTries, "
            "LoginGraceTime and the account's state on the host",
            host=self._target.name,
        ) from None
