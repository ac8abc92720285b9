"""How a host is on its networks: what listens, interfaces, routes, the packet filter."""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import re
from collections.abc import Mapping
from typing import Any

from openwatch.checks import files, firewall_default
from openwatch.checks.answers import answer, unanswered
from openwatch.checks.types import Facts, Observations, Probe, Reason, Verdict
from openwatch.fleet.inventory import Category, Hindrance, port_of
from openwatch.scans.inventory.answers import Reader, answered, because, known, line, text

_MOST_ROUTES = 2000
_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
_USUAL_RANGE = (32768, 60999)

# Without ss, sockets that listen (0A) or wait for anybody (07) of the kernel's own tables.
PORTS = Probe(
    "(if command -v ss >/dev/null; then ss -tuln; else "
    "for f in tcp tcp6 udp udp6; do [ -r /proc/net/$f ] && "
    'awk -v f=$f \'FNR>1&&($4=="0A"||$4=="07"){print f,$2,$4}\' /proc/net/$f; done; :; fi)',
    limit=1 << 18,
)
LINKS = Probe(
    "(for i in /sys/class/net/*; do [ -e $i/address ] || continue; "
    'd=; [ -e $i/device/driver ] && d=$(readlink $i/device/driver); set -- "${i##*/}"; '
    "for f in operstate type address mtu speed duplex statistics/rx_bytes statistics/tx_bytes; "
    'do v=; read -r v <$i/$f; set -- "$@" "${v:--}"; done; '
    'printf \'%s %s\\n\' "$*" "${d##*/}"; done 2>/dev/null; echo; ip -o addr show)',
    limit=1 << 18,
)
ROUTES = Probe(
    f"(ip route show | head -n {_MOST_ROUTES}; echo; ip -6 route show | head -n {_MOST_ROUTES})",
    limit=1 << 19,
)
_FILTERS = {
    probe.script.split(" ", 1)[0]: probe
    for probe in firewall_default.probes(firewall_default.Parameters(), Facts())
}
PROBES = (
    PORTS,
    LINKS,
    ROUTES,
    _FILTERS["nft"],
    _FILTERS["iptables"],
    _FILTERS["ip6tables"],
    files.reading(_RANGE),
)

_KINDS = {"1": "ethernet", "772": "loopback", "32": "infiniband", "65534": "tunnel"}
_SOCKET = re.compile(r"(tcp|udp)\s+\S+\s+\d+\s+\d+\s+(\S+):(\d+)\s")
_KERNEL_SOCKET = re.compile(r"(tcp|udp)6? ([0-9A-F]{8}(?:[0-9A-F]{24})?):([0-9A-F]{4}) (0A|07)")


# -- what listens ------------------------------------------------------------------------------


def _ports(
    _facts: Facts, observations: Observations, _found: Any
) -> list[dict[str, Any]] | Hindrance:
    found = answered(observations, PORTS)
    if isinstance(found, Hindrance):
        return found
    low, high = _range(observations)
    ports: dict[str, dict[str, Any]] = {}
    for row in text(found.stdout).split("\n"):
        read_row = _socket(row)
        if read_row is None:
            continue
        protocol, address, port = read_row
        one: dict[str, Any] = {"protocol": protocol, "address": address, "port": port}
        if protocol == "udp" and low <= port <= high:
            one["passing"] = True
        ports[port_of(one)] = one
    return [ports[name] for name in sorted(ports)]


def _socket(row: str) -> tuple[str, str, int] | None:
    seen = _SOCKET.match(row)
    if seen:
        address = seen[2].strip("[]").partition("%")[0].strip("[]")
        return seen[1], address or "::", int(seen[3])
    seen = _KERNEL_SOCKET.fullmatch(row)
    if seen and (seen[1] == "tcp") == (seen[4] == "0A"):
        return seen[1], _address(seen[2]), int(seen[3], 16)
    return None


def _address(digits: str) -> str:
    """Return the address of /proc/net: words of four bytes, each the other way round."""
    raw = bytes.fromhex(digits)
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return str(ipaddress.ip_address(words))


def _range(observations: Observations) -> tuple[int, int]:
    words = (known(line(observations, _RANGE)) or "").split()
    if len(words) == 2 and all(word.isdecimal() for word in words):
        return int(words[0]), int(words[1])
    return _USUAL_RANGE


# -- interfaces and routes ---------------------------------------------------------------------


def _interfaces(
    _facts: Facts, observations: Observations, _found: Any
) -> list[dict[str, Any]] | Hindrance:
    found = answered(observations, LINKS)
    if isinstance(found, Hindrance):
        return found
    links, _, addresses = text(found.stdout).partition("\n\n")
    interfaces: dict[str, dict[str, Any]] = {}
    for row in links.split("\n"):
        words = row.split(" ")
        if len(words) < 10 or not words[0]:
            continue
        name, state, kind, mac, mtu, speed, duplex, received, sent = words[:9]
        interfaces[name] = {
            "name": name,
            "state": state,
            "type": _KINDS.get(kind, kind),
            "ipv4_addrs": [],
            "ipv6_addrs": [],
            "mac": "" if mac == "-" else mac,
            "mtu": _count(mtu),
            "driver": words[9],
            "speed_mbps": _count(speed),
            "duplex": "" if duplex in {"-", "unknown"} else duplex,
            "rx_bytes": _count(received),
            "tx_bytes": _count(sent),
        }
    for row in addresses.split("\n"):
        words = row.split()
        if len(words) > 3 and words[2] in {"inet", "inet6"}:
            one = interfaces.get(words[1].partition("@")[0])
            if one is not None:
                one["ipv4_addrs" if words[2] == "inet" else "ipv6_addrs"].append(words[3])
    return list(interfaces.values()) or Hindrance.FAILED


def _routes(
    _facts: Facts, observations: Observations, _found: Any
) -> list[dict[str, Any]] | Hindrance:
    found = answered(observations, ROUTES)
    if isinstance(found, Hindrance):
        return found
    if b"not found" in found.stderr:
        return Hindrance.FAILED
    blocks = text(found.stdout).split("\n\n")
    if any(block.count("\n") >= _MOST_ROUTES - 1 for block in blocks):
        return Hindrance.FAILED  # a router with more than anybody would read
    return [_route(row.split()) for block in blocks for row in block.split("\n") if row.strip()]


def _route(words: list[str]) -> dict[str, Any]:
    kinds = {"unreachable", "blackhole", "prohibit", "throw", "local", "broadcast", "anycast"}
    kind = words.pop(0) if words[0] in kinds and len(words) > 1 else "unicast"
    named = dict(itertools.pairwise(words[1:]))
    return {
        "destination": words[0],
        "type": kind,
        "gateway": named.get("via", ""),
        "interface": named.get("dev", ""),
        "metric": _count(named.get("metric", "")),
        "protocol": named.get("proto", ""),
        "scope": named.get("scope", ""),
    }


def _count(written: str) -> int | None:
    return int(written) if written.isdecimal() and len(written) < 19 else None


# -- the packet filter -------------------------------------------------------------------------


def _firewall(
    _facts: Facts, observations: Observations, _found: Any
) -> dict[str, Any] | Hindrance:
    """Return the engine, the number of its rules, and a digest of them.

    No engine has no number: that is another thing than an engine without a rule.
    """
    answers: dict[str, str] = {}
    hindrances: list[Hindrance] = []
    for tool in ("nft", "iptables", "ip6tables"):
        probe = _FILTERS[tool]
        broken = unanswered(answer(observations, probe), probe)
        if broken is not None and broken.reason is Reason.TOOL_MISSING:
            continue
        found = answered(observations, probe)
        if isinstance(found, Hindrance):
            hindrances.append(because(broken) if isinstance(broken, Verdict) else found)
        else:
            answers[tool] = text(found.stdout).strip()
    if not answers:
        if hindrances:
            return hindrances[0]
        return {"engine": "none", "rules": None, "digest": None}
    if "nft" in hindrances or (hindrances and "nft" not in answers):
        return hindrances[0]
    whole = "\0".join(f"{tool}\0{rules}" for tool, rules in sorted(answers.items()))
    nft = _nft_rules(answers.get("nft", ""))
    tables = sum(
        row.startswith("-A ")
        for tool in ("iptables", "ip6tables")
        for row in answers.get(tool, "").split("\n")
    )
    is_nft = "nft" in answers and (nft > 0 or not tables)
    return {
        "engine": "nftables" if is_nft else "iptables",
        "rules": nft if is_nft else tables,
        "digest": hashlib.sha256(whole.encode()).hexdigest(),
    }


def _nft_rules(ruleset: str) -> int:
    """Count the rules in the chains of `nft list ruleset`."""
    rules, stack = 0, []
    for row in ruleset.split("\n"):
        entry = row.strip()
        if entry.endswith("{"):
            stack.append(entry)
        elif entry == "}":
            stack = stack[:-1]
        elif (
            stack
            and stack[-1].startswith("chain ")
            and entry
            and not entry.startswith(("type ", "#", "comment "))
        ):
            rules += 1
    return rules


READERS: Mapping[Category, Reader] = {
    Category.LISTENING_PORTS: _ports,
    Category.NETWORK_INTERFACES: _interfaces,
    Category.ROUTES: _routes,
    Category.FIREWALL: _firewall,
}
