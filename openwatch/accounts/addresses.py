"""Networks that something is limited to, and whether an address is in one of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return addresses and networks in CIDR form. Raise ValueError; bits beyond the mask are one."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def is_within(address: str, allowed: Iterable[Network]) -> bool:
    """Say whether an address is in one of the networks; an IPv4 address in IPv6's form is one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in allowed)


def are_within(inner: Iterable[Network], outer: Sequence[Network]) -> bool:
    """Say whether each of the first networks lies in one of the others."""
    return all(
        any(
            one.version == other.version
            and one.network_address in other
            and one.broadcast_address in other
            for other in outer
        )
        for one in inner
    )
