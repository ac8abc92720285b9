"""A self-signed certificate with the machine's real names, for the demo and a first set-up."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from openwatch import clock, errors

_DAYS = 397  # browsers refuse server certificates that live longer (CA/Browser Forum, 6.3.2)


def local_names() -> tuple[str, ...]:
    """Return the names and addresses this machine is reached by, without asking a name server."""
    names = ["localhost", socket.gethostname(), "127.0.0.1", "::1"]
    return tuple(dict.fromkeys(n for n in names if n))


def generate(certificate: Path, key: Path, names: Sequence[str]) -> None:
    """Write a key (0600) and a self-signed certificate (0644) with `names` as SANs.

    Raise KeyFileError where either file exists: half a pair means that somebody is replacing it.
    """
    for path in (certificate, key):
        if path.exists():
            raise errors.KeyFileError(f"{path} exists already; it is left as it is")
    private = ec.generate_private_key(ec.SECP256R1())
    now = clock.now()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([_name(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(key, pem, 0o600)
    _write(certificate, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def valid_until(certificate: Path) -> dt.datetime:
    """Return when the first certificate of a PEM file ends. Raise KeyFileError."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except OSError as error:
        raise errors.KeyFileError(f"{certificate}: {error.strerror}") from None
    except ValueError:
        raise errors.KeyFileError(f"{certificate} holds no PEM certificate") from None
    return found.not_valid_after_utc


def _write(path: Path, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
