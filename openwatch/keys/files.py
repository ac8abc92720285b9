"""The key files: credential.key (32 raw bytes) and jwt_private.pem (RSA), and those beside them.

credential.key seals; credential.key.new (which waits to take its place) and credential.key.old
(whose place it took) only open. jwt_private.pem signs; jwt_private.old.pem only verifies.

A key file is `root:openwatch 0640` in a directory that only root can change, or `0600` and owned
by the service's own user. Anything looser is refused, with the command that mends it.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import grp
import hashlib
import os
import pwd
import re
import shlex
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)

from openwatch import errors

CREDENTIAL_KEY_BYTES = 32
_SMALLEST_RSA = 2048
_GENERATED_RSA = 3072
_LARGEST_FILE = 64 * 1024
_SERVICE = "openwatch"  # the service's user, and its group
_REPLACED_BY = re.compile(rb"^Replaced-By: (\S+)$", re.MULTILINE)
_NEW_CREDENTIAL_KEY = (
    "restore it from the backup (a new one opens no stored credential; where none is stored yet:"
    " openssl rand -out {path} 32)"
)
_NEW_JWT_KEY = (
    "restore it from the backup, or make a new one, which ends every session: openssl genpkey"
    f" -algorithm RSA -pkeyopt rsa_keygen_bits:{_GENERATED_RSA} -out {{path}}"
)


def staged(path: Path) -> Path:
    """Return where the key lies that waits to take a key file's place."""
    return path.with_name(path.name + ".new")


def replaced(path: Path) -> Path:
    """Return where the key lies whose place a key file took."""
    if path.suffix == ".pem":
        return path.with_name(f"{path.stem}.old{path.suffix}")
    return path.with_name(path.name + ".old")


def credential_keys(path: Path) -> tuple[bytes, ...]:
    """Return the keys for the vault: the one that seals, then those beside it that only open.

    Raise KeyFileError with the command that mends it.
    """
    beside = (staged(path), replaced(path))
    keys = (credential_key(path), *(credential_key(one) for one in beside if _exists(one)))
    return tuple(dict.fromkeys(keys))


def jwt_keys(path: Path) -> tuple[RSAPrivateKey, ...]:
    """Return the keys for access tokens: the one that signs, then `jwt_private.old.pem`.

    The old one counts where it says that it was replaced by the one that signs, or says nothing: a
    file that was put in place by hand ends every session. Raise KeyFileError.
    """
    current, _ = _rsa_key(path)
    if not _exists(replaced(path)):
        return (current,)
    old, pem = _rsa_key(replaced(path))
    says = _REPLACED_BY.search(pem)
    is_successor = says is None or says[1] == jwt_key_id(current.public_key()).encode()
    return (current, old) if is_successor else (current,)


def jwt_key_id(key: RSAPublicKey) -> str:
    """Return the name of a public key: the start of the SHA-256 of its DER form."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()[:12]).decode()


def generate_credential_key(path: Path, group: int | None = None) -> None:
    """Create credential.key. Raise KeyFileError where the file exists: it is never replaced.

    With a group id the file is 0640 for that group, else 0600.
    """
    _create(path, os.urandom(CREDENTIAL_KEY_BYTES), group)


def generate_jwt_key(path: Path, group: int | None = None) -> None:
    """Create jwt_private.pem (PKCS#8). Raise KeyFileError where the file exists."""
    _create(path, jwt_pem(new_jwt_key()), group)


def new_jwt_key() -> RSAPrivateKey:
    """Return a new key for access tokens."""
    return generate_private_key(public_exponent=65537, key_size=_GENERATED_RSA)


def jwt_pem(key: RSAPrivateKey, replaced_by: str = "") -> bytes:
    """Return a key as a file holds it; with what it was replaced by, where it was."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (f"Replaced-By: {replaced_by}\n".encode() if replaced_by else b"") + pem


def read_private(path: Path, what: str, renew: str = "restore it from the backup") -> bytes:
    """Return the bytes of a key file whose owner, mode and directory are safe.

    Raise KeyFileError for a symlink, an unsafe mode or owner, or a file that cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise errors.KeyFileError(_cannot_open(path, what, renew, error)) from None
    try:
        found = os.fstat(handle)
        _require_safe_file(path, what, found)
        _require_safe_directory(path.parent, what)
        if found.st_size > _LARGEST_FILE:
            raise errors.KeyFileError(
                f"{what} {path} is {found.st_size} bytes; it is not a key"
            )
        return os.read(handle, _LARGEST_FILE)
    finally:
        os.close(handle)


def credential_key(path: Path) -> bytes:
    """Return the key of one file. Raise KeyFileError."""
    key = read_private(path, "the credential key", _NEW_CREDENTIAL_KEY)
    if len(key) != CREDENTIAL_KEY_BYTES:
        raise errors.KeyFileError(
            f"the credential key {path} has {len(key)} bytes instead of exactly"
            f" {CREDENTIAL_KEY_BYTES}; {_NEW_CREDENTIAL_KEY.format(path=_q(path))}"
        )
    return key


def _rsa_key(path: Path) -> tuple[RSAPrivateKey, bytes]:
    """Return the key of a file, and what the file says. Raise KeyFileError."""
    pem = read_private(path, "the JWT key", _NEW_JWT_KEY)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise errors.KeyFileError(
            f"the JWT key {path} is encrypted with a passphrase; store it without one:"
            f" openssl pkey -in {_q(path)} -out NEW_FILE"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise errors.KeyFileError(
            f"the JWT key {path} is not a PEM private key (PKCS#1 or PKCS#8);"
            f" {_NEW_JWT_KEY.format(path=_q(path))}"
        ) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < _SMALLEST_RSA:
        kind = f"RSA {key.key_size}" if isinstance(key, RSAPrivateKey) else type(key).__name__
        raise errors.KeyFileError(
            f"the JWT key {path} is {kind}; RSA of at least {_SMALLEST_RSA} bits is needed;"
            f" {_NEW_JWT_KEY.format(path=_q(path))}"
        )
    return key, pem


def _require_safe_file(path: Path, what: str, found: os.stat_result) -> None:
    """Raise KeyFileError where another user could read the key or put another in its place."""
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        raise errors.KeyFileError(f"{what} {path} is not a regular file")
    if found.st_uid not in _own_users():
        raise errors.KeyFileError(
            f"{what} {path} belongs to user id {found.st_uid}, neither root nor the user this"
            f" program runs as; run: {_mend(path, found)}"
        )
    if mode & 0o007:
        raise errors.KeyFileError(
            f"{what} {path} can be reached by every user (mode {mode:04o});"
            f" run: {_mend(path, found)}"
        )
    if mode & 0o020:
        raise errors.KeyFileError(
            f"{what} {path} can be written by its group (mode {mode:04o});"
            f" run: {_mend(path, found)}"
        )
    if mode & 0o040 and found.st_gid not in _own_groups():
        raise errors.KeyFileError(
            f"{what} {path} can be read by group {_group_name(found.st_gid)}, which this"
            f" program does not run as; run: {_mend(path, found)}"
        )


def _require_safe_directory(folder: Path, what: str) -> None:
    """Raise KeyFileError where another user could replace the files of the directory."""
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in _own_users():
        raise errors.KeyFileError(
            f"{what}: its directory {folder} belongs to user id {found.st_uid};"
            f" run: chown root:{_SERVICE} {_q(folder)} && chmod 0750 {_q(folder)}"
        )
    if mode & 0o022:
        raise errors.KeyFileError(
            f"{what}: its directory {folder} can be changed by other users (mode {mode:04o});"
            f" run: chmod 0750 {_q(folder)}"
        )


def _mend(path: Path, found: os.stat_result) -> str:
    if found.st_uid == os.geteuid() != 0:
        return f"chmod 0600 {_q(path)}"
    return f"chown root:{_SERVICE} {_q(path)} && chmod 0640 {_q(path)}"


def _own_users() -> set[int]:
    users = {0, os.geteuid()}
    if os.geteuid() == 0:  # root's own commands read the key of the service
        with contextlib.suppress(KeyError):
            users.add(pwd.getpwnam(_SERVICE).pw_uid)
    return users


def _own_groups() -> set[int]:
    groups = {os.getegid(), *os.getgroups()}
    if os.geteuid() == 0:  # root's own commands read the key of the service
        with contextlib.suppress(KeyError):
            groups.add(grp.getgrnam(_SERVICE).gr_gid)
    return groups


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _cannot_open(path: Path, what: str, renew: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"{what} {path} does not exist; {renew.format(path=_q(path))}"
    if error.errno == errno.ELOOP:
        return f"{what} {path} is a symbolic link; put the file itself there"
    if error.errno == errno.EACCES:
        return (
            f"{what} {path} cannot be read by this user;"
            f" run: chown root:{_SERVICE} {_q(path)} && chmod 0640 {_q(path)}"
            f" and see that the directory is root:{_SERVICE} 0750"
        )
    return f"{what} {path} cannot be opened: {error.strerror}"


def _create(path: Path, content: bytes, group: int | None) -> None:
    mode = 0o600 if group is None else 0o640
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise errors.KeyFileError(f"{path} exists already; a key is never replaced") from None
    except OSError as error:
        raise errors.KeyFileError(f"{path} cannot be created: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        if group is not None:
            os.fchown(file.fileno(), -1, group)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _q(path: Path) -> str:
    return shlex.quote(str(path))
