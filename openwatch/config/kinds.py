"""What an option may hold, and the sentence about it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec


class About(msgspec.Struct, frozen=True):
    """What is said of an option: the sentence for people, what is expected, and the test for it."""

    doc: str
    expects: str = ""
    accepts: Callable[[Any], bool] = lambda _: True
    secret: bool = False


def address(text: str) -> tuple[str, int]:
    """Split `host:port`, `[v6]:port` or `:port`. Raise ValueError."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(text)
    if bare == host and ":" in host:
        raise ValueError(text)
    if bare != host:
        ipaddress.IPv6Address(bare)
    elif not re.fullmatch(r"[A-Za-z0-9._*-]*", host):
        raise ValueError(text)
    return bare, int(port)


def _is_address(text: str) -> bool:
    try:
        address(text)
    except ValueError:
        return False
    return True


def are_networks(items: Sequence[str]) -> bool:
    """Say whether each is an address or a network."""
    try:
        for text in items:
            ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def are_paths(items: Sequence[str]) -> bool:
    """Say whether each is an absolute path."""
    return all(map(_is_path, items))


def is_dsn(text: str) -> bool:
    """Say whether it has the form of a DSN; what is in it is judged where it is used."""
    return re.match(r"postgres(ql)?://|\s*[a-z_]+\s*=", text) is not None


def is_duration(text: str) -> bool:
    """Say whether PostgreSQL reads it as a time with a unit, and not as no limit at all."""
    return re.fullmatch(r"[1-9][0-9]{0,8}(ms|s|min|h)", text) is not None


def is_syslog(text: str) -> bool:
    """Say whether it is the address of a syslog server, or nothing."""
    return not text or (_is_url(text, ("tls", "tcp", "udp")) and not urlsplit(text).path)


def is_https(text: str) -> bool:
    """Say whether it is an https URL that names no user, or nothing."""
    return not text or _is_url(text, ("https",))


def _is_url(text: str, schemes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and " " not in text
    return is_plain and has_host and parts.scheme in schemes and "@" not in parts.netloc


def _is_path(text: str) -> bool:
    return text.startswith("/") and "\0" not in text


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: low <= value <= high


def number(doc: str, low: float, high: float) -> About:
    """Describe a number within bounds."""
    return About(doc, f"a number from {low} to {high}", _between(low, high))


def path(doc: str, *, empty: bool = False) -> About:
    """Describe a file or directory."""
    return About(
        doc,
        "an absolute path" + (", or nothing" if empty else ""),
        lambda text: (empty and not text) or _is_path(text),
    )


def host_port(doc: str, *, empty: bool = False) -> About:
    """Describe an address to listen on."""
    return About(
        doc,
        "host:port, as in 0.0.0.0:8443 or [::1]:8443" + (", or nothing" if empty else ""),
        lambda text: (empty and not text) or _is_address(text),
    )
