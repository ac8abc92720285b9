"""Private keys: what one is, whether it is strong enough, and the object that signs with it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import struct
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from openwatch.errors import InvalidInput
from openwatch.ssh import certificates
from openwatch.ssh.types import HostKey, Login

if TYPE_CHECKING:
    import paramiko

_CODE = "credentials.invalid_key"
_LARGEST = 64 * 1024  # characters; a 16,384-bit RSA key needs 13,000
_LEAST_RSA_BITS = 2048  # NIST SP 800-57 part 1
_PUBLIC = (b"ssh-", b"ecdsa-sha2-", b"sk-", b"---- BEGIN SSH2 PUBLIC KEY")
_MAGIC = b"openssh-key-v1\0"
# How many fields stand between a key's type and its comment, by openssh's PROTOCOL.key.
_FIELDS = {b"ssh-ed25519": 2, b"ssh-rsa": 6, b"ecdsa": 3}

_Private: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class PrivateKey(msgspec.Struct, frozen=True):
    """What may be shown of a private key. The comment of an encrypted key is not read."""

    key_type: str  # ed25519, ecdsa, rsa
    bits: int
    fingerprint: str  # SHA256:... of its public half, as ssh-keygen shows it
    comment: str = ""


def fingerprint(blob: bytes) -> str:
    """Return `SHA256:` and the unpadded base64 digest of a public key's wire bytes."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def host_key(key_type: str, blob: bytes) -> HostKey:
    """Return the host key with its fingerprint."""
    return HostKey(key_type, blob, fingerprint(blob))


def parse_private_key(text: str, passphrase: str | None = None) -> PrivateKey:
    """Return what the key is. Raise InvalidInput (credentials.invalid_key) where it cannot be used."""
    private = _load(text, passphrase)
    certificates.check(text, private.public_key())
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    shown = fingerprint(base64.b64decode(public.split()[1]))
    if isinstance(private, rsa.RSAPrivateKey):
        name, bits = "rsa", private.key_size
    elif isinstance(private, ec.EllipticCurvePrivateKey):
        name, bits = "ecdsa", private.curve.key_size
    else:
        name, bits = "ed25519", 256
    return PrivateKey(name, bits, shown, _comment(text))


def signers(login: Login) -> tuple[paramiko.PKey, ...]:
    """Return what logs in with the private key: with its certificate first, then by itself.

    Raise InvalidInput as parse_private_key does, and for a certificate that does not fit.
    """
    if login.private_key is None:
        return ()
    private = _load(login.private_key, login.passphrase)  # once: a passphrase costs a slow hash
    plain = _signer(private)
    text = login.certificate or certificates.within(login.private_key)
    if text is None:
        return (plain,)
    own = certificates.line(text)
    certificates.check(own, private.public_key())
    certified = _signer(private)
    certified.load_certificate(own)
    return (certified, plain)


def _signer(private: _Private) -> paramiko.PKey:
    """Return the object that logs in with the key.

    The key is written anew, unencrypted and in memory, in the one format that every class of the
    SSH library reads.
    """
    import paramiko  # here: 8 MB that the server, which only looks at keys, can do without

    plain = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()
    if isinstance(private, rsa.RSAPrivateKey):
        return paramiko.RSAKey.from_private_key(io.StringIO(plain))
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return paramiko.ECDSAKey.from_private_key(io.StringIO(plain))
    return paramiko.Ed25519Key.from_private_key(io.StringIO(plain))


def _load(text: str, passphrase: str | None) -> _Private:
    """Read OpenSSH, PKCS#1, SEC1 and PKCS#8 keys; refuse the weak."""
    if len(text) > _LARGEST:
        raise InvalidInput(f"a private key has at most {_LARGEST} characters", code=_CODE)
    data = text.strip().encode() + b"\n"
    if b"PRIVATE KEY-----" not in data:
        raise InvalidInput(_what_it_is(data), code=_CODE)
    secret = passphrase.encode() if passphrase else None
    private: object
    try:
        if b"BEGIN OPENSSH PRIVATE KEY" in data:
            private = serialization.load_ssh_private_key(data, secret)
        else:
            private = serialization.load_pem_private_key(data, secret)
    except TypeError:
        why = (
            "the private key is not encrypted, but a passphrase was given: leave it empty"
            if secret
            else "the private key is encrypted: give its passphrase"
        )
        raise InvalidInput(why, code=_CODE, is_encrypted=secret is None) from None
    except (ValueError, UnsupportedAlgorithm, binascii.Error):
        why = (
            "the passphrase is wrong or the key is damaged" if secret else "the key is damaged"
        )
        raise InvalidInput(
            f"the private key cannot be read: {why}, or of a kind that is not supported "
            "(supported: ed25519, ECDSA, RSA)",
            code=_CODE,
        ) from None
    return _strong(private)


def _what_it_is(data: bytes) -> str:
    """Return the sentence for what is no private key that can be read."""
    if data.startswith(b"PuTTY-User-Key-File"):
        return (
            "this is a PuTTY key: export it as an OpenSSH key (PuTTYgen: Conversions; or puttygen"
            " KEY.ppk -O private-openssh -o NEW_FILE)"
        )
    if data.startswith(_PUBLIC) or b"PUBLIC KEY-----" in data:
        return "this is a public key: the private one is needed, of the same name without .pub"
    return (
        "this is not a private key: paste the whole file, from "
        "-----BEGIN ... PRIVATE KEY----- to the END line"
    )


def _strong(private: object) -> _Private:
    """Return the key where its kind and length are good enough."""
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < _LEAST_RSA_BITS:
            raise InvalidInput(
                f"an RSA key of {private.key_size} bits is too weak: use ed25519, or RSA with "
                f"at least {_LEAST_RSA_BITS}",
                code=_CODE,
            )
        return private
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(
        private.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1
    ):
        return private
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private
    kind = "DSA" if isinstance(private, dsa.DSAPrivateKey) else "this kind of"
    raise InvalidInput(
        f"{kind} key is not supported: use ed25519, ECDSA P-256/384/521 or RSA", code=_CODE
    )


def _comment(text: str) -> str:
    """Return the comment of an unencrypted OpenSSH key, "" where there is none to read."""
    lines = (line.strip() for line in text.strip().splitlines())
    body = "".join(line for line in lines if not line.startswith("-----"))
    try:
        blob = base64.b64decode(body)
        if not blob.startswith(_MAGIC):
            return ""
        rest = blob[len(_MAGIC) :]
        cipher, rest = _string(rest)
        _, rest = _string(rest)  # kdf
        _, rest = _string(rest)  # its options
        _, rest = _string(rest[4:])  # after the number of keys: the public half
        inner, _ = _string(rest)
        if cipher != b"none":
            return ""
        name, inner = _string(inner[8:])  # after two equal check numbers
        for _ in range(_FIELDS.get(name, _FIELDS[b"ecdsa"])):
            _, inner = _string(inner)
        comment, _ = _string(inner)
    except (ValueError, struct.error):
        return ""
    return "".join(c for c in comment.decode("utf-8", "replace") if c.isprintable())[:200]


def _string(data: bytes) -> tuple[bytes, bytes]:
    """Split off one length-prefixed string."""
    (length,) = struct.unpack_from(">I", data)
    return data[4 : 4 + length], data[4 + length :]
