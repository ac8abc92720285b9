"""OpenSSH user certificates: does one belong to a private key, and may it be used."""

from __future__ import annotations

import datetime as dt
import re

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import (
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from openwatch import clock
from openwatch.errors import InvalidInput

_CODE = "credentials.invalid_key"
_LINE = re.compile(r"^[ \t]*([a-z0-9-]+-cert-v01@openssh\.com [A-Za-z0-9+/=]+)", re.MULTILINE)
_FOREVER = 2**64 - 1  # PROTOCOL.certkeys: no end


class Certificate(msgspec.Struct, frozen=True):
    """What a user certificate says."""

    name: str  # its key id
    principals: tuple[str, ...]  # whom it may log in as; whoever the host lets, where empty
    valid_from: int  # seconds since 1970
    valid_until: int


def within(text: str) -> str | None:
    """Return the certificate that stands in a text, as one below its private key does."""
    found = _LINE.search(text)
    return found[1] if found else None


def line(text: str) -> str:
    """Return the certificate's own line. Raise InvalidInput."""
    found = within(text)
    if found is None:
        raise InvalidInput(
            "this is not an OpenSSH certificate: give the -cert.pub file that ssh-keygen -s wrote",
            code=_CODE,
        )
    return found


def check(text: str, key: object) -> Certificate | None:
    """Return what the certificate in `text` says, None where there is none.

    Raise InvalidInput where it is damaged, a host's, another key's, or not valid now.
    """
    own = within(text)
    if own is None:
        return None
    found = _read(own)
    if found.type is not SSHCertificateType.USER:
        _refuse(
            "is a host's certificate: have one signed for a user (ssh-keygen -s without -h)"
        )
    if _public(found.public_key()) != _public(key):
        _refuse("belongs to another private key")
    now = clock.now().timestamp()
    if found.valid_before != _FOREVER and now >= found.valid_before:
        _refuse(f"ended at {_shown(found.valid_before)}: have it signed anew")
    if now < found.valid_after:
        _refuse(f"is valid only from {_shown(found.valid_after)} on: see this machine's clock")
    return Certificate(
        found.key_id.decode("utf-8", "replace"),
        tuple(name.decode("utf-8", "replace") for name in found.valid_principals),
        found.valid_after,
        found.valid_before,
    )


def _read(own: str) -> SSHCertificate:
    try:
        found = load_ssh_public_identity(own.encode())
        if isinstance(found, SSHCertificate):
            found.verify_cert_signature()
            return found
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        pass
    raise InvalidInput(
        "the certificate is damaged or of a kind that is not supported (supported: ed25519,"
        " ECDSA, RSA with SHA-2)",
        code=_CODE,
    )


def _public(key: object) -> bytes:
    public: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public


def _refuse(why: str) -> None:
    raise InvalidInput(f"the certificate {why}", code=_CODE)


def _shown(seconds: int) -> str:
    try:
        return clock.rfc3339(dt.datetime.fromtimestamp(seconds, dt.UTC))
    except (OverflowError, ValueError, OSError):
        return "a time beyond the calendar"
