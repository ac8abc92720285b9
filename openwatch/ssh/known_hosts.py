"""Reading known_hosts files, as sshd(8) describes them in "SSH_KNOWN_HOSTS FILE FORMAT"."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from openwatch import errors
from openwatch.ssh.types import HostKey

_LARGEST = 16 * 1024 * 1024
_SSH_PORT = 22


def default_files() -> tuple[Path, ...]:
    """Return the user's file and the machine's; either may be absent."""
    return (Path("~/.ssh/known_hosts").expanduser(), Path("/etc/ssh/ssh_known_hosts"))


def known_keys(
    files: Iterable[Path], address: str, port: int, *, must_exist: bool = False
) -> tuple[HostKey, ...]:
    """Return the keys that the files hold for an address and port, without the revoked ones.

    Lines of certificate authorities say nothing about a plain key and are left out, and so are
    lines that cannot be read. Raise ConfigError for a file that is there and cannot be opened.
    """
    found: dict[bytes, HostKey] = {}
    revoked: set[bytes] = set()
    name = (address if port == _SSH_PORT else f"[{address}]:{port}").lower()
    for file in files:
        for marker, patterns, blob in _entries(_text(file, must_exist=must_exist)):
            if not _matches(patterns, name):
                continue
            if marker == "@revoked":
                revoked.add(blob)
            elif not marker and (key := host_key(blob)):
                found.setdefault(blob, key)
    return tuple(key for blob, key in found.items() if blob not in revoked)


def host_key(blob: bytes) -> HostKey | None:
    """Return the key of its wire bytes, None where they are none."""
    length = int.from_bytes(blob[:4], "big")
    kind = blob[4 : 4 + length]
    if not 0 < length <= 64 or len(kind) != length or not kind.isascii():
        return None
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return HostKey(kind.decode(), blob, f"SHA256:{digest}")


def _text(file: Path, *, must_exist: bool) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_LARGEST).decode("utf-8", "replace")
    except FileNotFoundError:
        if must_exist:
            raise errors.ConfigError(f"{file}: there is no such known_hosts file") from None
        return ""
    except OSError as why:
        raise errors.ConfigError(f"{file}: cannot be read: {why.strerror}") from None


def _entries(text: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield marker, host patterns and key of each line that has the form of one."""
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if len(words) < 3:
            continue
        try:
            yield marker, words[0], base64.b64decode(words[2], validate=True)
        except (binascii.Error, ValueError):
            continue


def _matches(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        return _is_hash_of(patterns, name)
    matched = False
    for pattern in patterns.lower().split(","):
        if pattern.startswith("!"):
            if _fits(pattern[1:], name):
                return False
        elif _fits(pattern, name):
            matched = True
    return matched


def _fits(pattern: str, name: str) -> bool:
    # Only * and ? are special here: the brackets of [host]:port are themselves.
    text = "".join(
        {"*": ".*", "?": "."}.get(c, re.escape(c)) for c in re.sub(r"\*+", "*", pattern)
    )
    return re.fullmatch(text, name, re.DOTALL) is not None


def _is_hash_of(text: str, name: str) -> bool:
    parts = text.split("|")
    if len(parts) != 4:
        return False
    try:
        salt, digest = base64.b64decode(parts[2]), base64.b64decode(parts[3])
    except (binascii.Error, ValueError):
        return False
    # SHA-1 is the file's format; the hash hides names, it proves nothing.
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
