"""Everything that can go wrong, as one tree. `code` is what the API says, the text says what to do.

OpenWatchError
  ConfigError                 the configuration, a key file or the command's input is unusable
    KeyFileError
  Rejected                    what the caller sent cannot be accepted
    InvalidInput  NotFound  Conflict  PreconditionFailed  Gone  TooLarge
    Unauthenticated  Forbidden  BuiltIn  RateLimited  Overloaded  NotReady
  RuleError                   a rule document, with file and line
  StorageError                PostgreSQL said no
    DatabaseUnavailable  IntegrityViolation  RetryableConflict  QueryTimeout
    MissingPartition  SchemaMismatch  UnsupportedServer  EvidenceDamaged
  HostError                   a watched host could not be asked
    HostUnreachable  HostKeyUnknown  HostKeyChanged  LoginRefused  LoginHeldBack
    PrivilegeRefused  ScanTimeout  ConnectionLost  NoCredential  TransportRefused
  SecretUnreadable            the vault holds no key that opens this value
  LeaseLost                   another worker owns this job now

StorageError and IntegrityViolation are not called DatabaseError and IntegrityError because
Peewee replaces any exception of those names, whoever raised it, by its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class OpenWatchError(Exception):
    """Something went wrong."""

    code = "server.internal"
    retryable = False

    def __init__(self, message: str = "", **detail: Any) -> None:
        """Keep the sentence for people and `detail` for programs; neither holds a secret."""
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.detail: dict[str, Any] = detail

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class ConfigError(OpenWatchError):
    """The configuration cannot be used."""

    code = "config.invalid"

    def __init__(
        self, message: str = "", problems: tuple[str, ...] = (), **detail: Any
    ) -> None:
        """Keep every problem found, so that one run shows them all."""
        super().__init__(
            "\n".join((message, *(f"  - {p}" for p in problems))).strip(), **detail
        )
        self.problems = problems


class KeyFileError(ConfigError):
    """A key file is missing, unreadable or readable by others."""


class Rejected(OpenWatchError):
    """The request cannot be accepted."""

    code = "validation.invalid_value"

    def __init__(self, message: str = "", *, code: str | None = None, **detail: Any) -> None:
        """Let the caller name the contract's own code where it differs from the class's."""
        super().__init__(message, **detail)
        if code is not None:
            self.code = code


class InvalidInput(Rejected):
    """A field has a value that cannot be accepted."""


class NotFound(Rejected):
    """There is no such thing."""

    code = "resource.not_found"


class Conflict(Rejected):
    """It collides with what exists."""

    code = "resource.conflict"


class PreconditionFailed(Rejected):
    """It has been changed since the caller read it."""

    code = "resource.precondition_failed"


class Gone(Rejected):
    """It existed and has been removed by the retention rules."""

    code = "resource.gone"


class TooLarge(Rejected):
    """The body is larger than the server accepts."""

    code = "validation.body_too_large"


class Unauthenticated(Rejected):
    """Sign in first."""

    code = "auth.required"
    trace: Mapping[str, str] = MappingProxyType(
        {}
    )  # what the trail knows and the caller does not


class Forbidden(Rejected):
    """You may not do this."""

    code = "authz.permission_denied"


class BuiltIn(Rejected):
    """It comes with the program and cannot be changed or removed."""

    code = "resource.builtin"


class RateLimited(Rejected):
    """Too many attempts; wait before the next one."""

    code = "rate.limited"
    retryable = True


class Overloaded(Rejected):
    """The server is at its limit; try again in a few seconds."""

    code = "server.unavailable"
    retryable = True


class NotReady(Rejected):
    """The server should not be sent requests now."""

    code = "server.unavailable"
    retryable = True


class RuleError(OpenWatchError):
    """A rule or framework document cannot be used."""

    code = "rules.invalid"

    def __init__(self, message: str, *, file: str = "", line: int = 0, **detail: Any) -> None:
        """Say where: the file, and its line counted from 1 (0 where the whole file is meant)."""
        where = f"{file}:{line}: " if line else f"{file}: " if file else ""
        super().__init__(where + message, **detail)
        self.bare = message  # for those who show the place apart
        self.file = file
        self.line = line


class StorageError(OpenWatchError):
    """PostgreSQL refused a statement."""

    code = "server.internal"

    def __init__(
        self,
        message: str = "",
        *,
        sqlstate: str = "",
        constraint: str = "",
        table: str = "",
        **detail: Any,
    ) -> None:
        """Keep the SQLSTATE and the constraint's name, which selects the domain's own error."""
        super().__init__(message, **detail)
        self.sqlstate = sqlstate
        self.constraint = constraint
        self.table = table


class DatabaseUnavailable(StorageError):
    """The database cannot be reached."""

    code = "server.unavailable"
    retryable = True


class IntegrityViolation(StorageError):
    """A constraint was violated (SQLSTATE class 23)."""

    code = "resource.conflict"


class RetryableConflict(StorageError):
    """Two transactions got in each other's way (40001, 40P01); run the whole of it again."""

    code = "server.unavailable"
    retryable = True


class QueryTimeout(StorageError):
    """A statement or a lock took longer than its limit (57014, 55P03)."""

    code = "server.timeout"
    retryable = True


class MissingPartition(StorageError):
    """A month has no partition yet (23514 without a constraint)."""


class SchemaMismatch(StorageError):
    """The database's schema is older or newer than this program."""

    code = "server.unavailable"


class UnsupportedServer(StorageError):
    """This database server, or the pooler before it, cannot be used."""

    code = "server.unavailable"


class EvidenceDamaged(StorageError):
    """Stored evidence is not what its hash says."""


class HostError(OpenWatchError):
    """The host could not be asked."""

    code = "host.unreachable"

    def __init__(self, message: str = "", *, host: str = "", **detail: Any) -> None:
        """Name the host in the sentence: it is read in a list of many."""
        super().__init__(f"{host}: {message}" if host and message else message, **detail)
        self.host = host


class HostUnreachable(HostError):
    """Nothing answered at the host's address."""

    retryable = True


class HostKeyUnknown(HostError):
    """The host's key has not been approved."""

    code = "host.ssh_host_key_unknown"


class HostKeyChanged(HostError):
    """The host shows another key than the approved one."""

    code = "host.ssh_host_key_mismatch"


class LoginRefused(HostError):
    """The host refused the credential."""

    code = "host.ssh_authentication_failed"


class LoginHeldBack(HostError):
    """The host refused this password a short while ago; it is not sent again so soon."""

    code = "host.login_held_back"


class PrivilegeRefused(HostError):
    """sudo refused, or asked for a password that policy does not give."""

    code = "host.privilege_denied"


class ScanTimeout(HostError):
    """The host did not finish answering within the scan's budget."""

    code = "host.timeout"
    retryable = True


class ConnectionLost(HostError):
    """The connection ended before the host had answered."""

    code = "host.connection_lost"
    retryable = True


class NoCredential(HostError):
    """No credential is stored that could be used for this host."""

    code = "credentials.none_available"


class TransportRefused(HostError):
    """The configuration does not permit this transport."""

    code = "host.transport_refused"


class SecretUnreadable(OpenWatchError):
    """No key in the ring opens this value."""

    code = "credentials.unreadable"


class LeaseLost(OpenWatchError):
    """Another worker owns this job now; what was done is rolled back."""

    code = "queue.lease_lost"
