"""Log in: each secret is sent at most once, and only after the host's key was judged."""

from __future__ import annotations

from typing import NoReturn

import paramiko

from openwatch.errors import ConnectionLost, HostError, HostUnreachable, LoginRefused
from openwatch.ssh import certificates, keys
from openwatch.ssh.types import Method, Target

_KEYS = (Method.CERTIFICATE, Method.KEY)
_PASSWORDS = (Method.PASSWORD, Method.INTERACTIVE)
_MOST = 8  # requests; a host that names other methods each time would be asked for ever


def log_in(
    target: Target,
    transport: paramiko.Transport,
    signers: tuple[paramiko.PKey, ...],
    where: str,
) -> tuple[Method, ...]:
    """Log in with the credential's own methods and return those that the host accepted, in order.

    What it accepted last time is tried first, and everything else after it. Raise LoginRefused,
    HostUnreachable, ConnectionLost; `password_sent` in the error's detail says that the host may
    have counted a refused password.
    """
    attempt = _Attempt(target, transport, signers, where)
    try:
        return attempt.run()
    except HostError as failure:
        failure.detail["password_sent"] = attempt.password_sent
        raise


class _Attempt:
    """One login to one end."""

    def __init__(
        self,
        target: Target,
        transport: paramiko.Transport,
        signers: tuple[paramiko.PKey, ...],
        where: str,
    ) -> None:
        self._target = target
        self._login = target.login
        self._transport = transport
        self._where = where
        held = dict(zip(reversed(_KEYS), reversed(signers), strict=False))
        self._signers: dict[Method, paramiko.PKey] = held
        self._accepted: list[Method] = []
        self._refused: list[Method] = []  # judged and found wrong, not merely unknown there
        self._allowed: list[str] | None = None  # what the host said last that it takes
        self.password_sent = False

    def run(self) -> tuple[Method, ...]:
        """Log in, or raise."""
        order = self._order()
        if not order:
            raise self._refusal("the credential holds neither a key nor a password")
        for _ in range(_MOST):
            method = next((m for m in order if self._may_try(m)), None)
            if method is None:
                break
            further = self._tried(method)
            if further is None:
                continue
            self._accepted.append(method)
            if self._transport.is_authenticated():
                return tuple(self._accepted)
            self._allowed = further
        raise self._refusal(self._lacking())

    def _order(self) -> list[Method]:
        """Return the methods that the credential can serve, what worked last time first."""
        order = dict.fromkeys((*self._target.hint, *_KEYS, *_PASSWORDS))
        has_password = self._login.password is not None
        return [m for m in order if (has_password if m in _PASSWORDS else m in self._signers)]

    def _may_try(self, method: Method) -> bool:
        """Say whether it makes sense now: a key that was refused is not followed by the password."""
        if not self._transport.is_active():
            return False
        if self._allowed is not None and method.wire not in self._allowed:
            return False
        if method in self._refused or any(m.wire == method.wire for m in self._accepted):
            return False
        if method in _KEYS:
            return True
        no_key_fits = any(m in _KEYS for m in self._refused) and not self._accepted
        return not self.password_sent and not no_key_fits

    def _tried(self, method: Method) -> list[str] | None:
        """Return what the host wants besides, None where it did not accept the method."""
        try:
            return self._send(method)
        except paramiko.BadAuthenticationType as error:
            self._allowed = error.allowed_types
            if method is Method.PASSWORD:
                self.password_sent = False  # the host takes none, so it judged none
        except paramiko.AuthenticationException as error:
            self._require_judged(str(error))
            self._refused.append(method)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._ended(str(error) or type(error).__name__)
        return None

    def _send(self, method: Method) -> list[str]:
        """Send one request; return what the host wants besides, where it accepted it."""
        username = self._login.username
        if method in _KEYS:
            return self._transport.auth_publickey(username, self._signers[method])
        password = self._login.password or ""
        if method is Method.PASSWORD:
            self.password_sent = True
            return self._transport.auth_password(username, password, fallback=False)
        answered = False

        def answer(_title: str, _text: str, prompts: list[tuple[str, bool]]) -> list[str]:
            nonlocal answered
            if not prompts:
                return []
            if answered or len(prompts) != 1 or prompts[0][1]:
                # A second question, or one whose answer is shown, is not for the password.
                return [""] * len(prompts)
            self.password_sent = answered = True
            return [password]

        return self._transport.auth_interactive(username, answer)

    def _require_judged(self, text: str) -> None:
        """Return where the host has said no; raise where it has said nothing."""
        if "timeout" in text.lower():
            raise HostUnreachable(
                f"{self._where} did not answer the login within "
                f"{self._target.login_timeout:g} s",
                host=self._target.name,
            ) from None
        if "EOF" in text:
            self._ended("closed without a word")

    def _lacking(self) -> str:
        """Say what the host would have taken, where it has told."""
        if self._allowed is None:
            return ""
        takes = ", ".join(self._allowed) or "nothing else"
        if self._accepted:
            return f"after {' and '.join(self._accepted)} it also wants {takes}"
        return "" if self._refused else f"it accepts only {takes}"

    def _refusal(self, more: str) -> LoginRefused:
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
        return LoginRefused(
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
