"""Packet filters: what becomes of a packet that no rule was made for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

import msgspec

DENY, ACCEPT = "deny", "accept"
_DEPTH = 16
_TABLE = re.compile(r"table (\w+) (\S+) \{")
_HOOK = re.compile(r"type filter hook input priority [^;]+;(?: policy (\w+);)?")
_NFT = re.compile(
    r"(?:counter(?: packets \d+ bytes \d+)? |log(?: (?:prefix \"[^\"]*\"|level \w+|flags [\w ,]+?"
    r"|group \d+))* )*(accept|drop|reject(?: with .*)?|return|(?:jump|goto) \S+)"
    r"(?: comment \"[^\"]*\")?"
)
_FAMILIES = {"ip": ("IPv4",), "ip6": ("IPv6",), "inet": ("IPv4", "IPv6")}


class Chain(msgspec.Struct):
    """What the rules of a chain that ask nothing do, in order; `policy` is "" for an inner one."""

    policy: str = ""
    does: list[str] = []


def decided(chains: Mapping[str, Chain], name: str, depth: int = 0) -> str:
    """Return DENY or ACCEPT for a packet that no condition fits, "" where a chain lets go of it."""
    chain = chains.get(name)
    if chain is None or depth > _DEPTH:
        return ACCEPT  # what is not known does not deny
    for one in chain.does:
        verb, _, target = one.partition(" ")
        if verb in {DENY, ACCEPT}:
            return verb
        if verb == "return":
            break
        inner = decided(chains, target, depth + 1)
        if inner:
            return inner
        if verb == "goto":
            break
    return chain.policy


def nft_denies(text: str) -> frozenset[str]:
    """Return the IP families for which `nft list ruleset` shows that input is denied."""
    denied: set[str] = set()
    for (family, _), chains in _tables(text).items():
        for name, chain in chains.items():
            if chain.policy and decided(chains, name) == DENY:
                denied.update(_FAMILIES.get(family, ()))
    return frozenset(denied)


def _tables(text: str) -> dict[tuple[str, str], dict[str, Chain]]:
    tables: dict[tuple[str, str], dict[str, Chain]] = {}
    stack: list[str] = []
    table: dict[str, Chain] = {}
    for row in text.split("\n"):
        line = row.strip()
        if line.startswith("#") or not line:
            continue
        if line.endswith("{"):
            head = _TABLE.fullmatch(line)
            if head and not stack:
                table = tables.setdefault((head.group(1), head.group(2)), {})
            stack.append(line)
            if line.startswith("chain ") and len(stack) == 2:
                table[line.split()[1]] = Chain(does=[])
            continue
        if line == "}":
            stack = stack[:-1]
            continue
        if len(stack) == 2 and stack[1].startswith("chain "):
            _nft_line(table[stack[1].split()[1]], line)
    return tables


def _nft_line(chain: Chain, line: str) -> None:
    hook = _HOOK.match(line)
    if hook:
        chain.policy = DENY if hook.group(1) == "drop" else ACCEPT
        return
    rule = _NFT.fullmatch(line)
    if rule:
        does = rule.group(1)
        verb = does.split()[0]
        chain.does.append({"drop": DENY, "reject": DENY, "accept": ACCEPT}.get(verb, does))


def iptables_denies(text: str) -> bool:
    """Tell whether `iptables -S` shows that input is denied."""
    chains: dict[str, Chain] = {}
    for row in text.split("\n"):
        try:
            words = shlex.split(row)
        except ValueError:
            continue
        if len(words) >= 2 and words[0] in {"-P", "-N"}:
            policy = words[2] if words[0] == "-P" and len(words) > 2 else ""
            sign = {"DROP": DENY, "REJECT": DENY, "ACCEPT": ACCEPT}.get(policy, "")
            chains[words[1]] = Chain(sign, [])
        elif len(words) >= 4 and words[0] == "-A" and words[1] in chains:
            does = _iptables_target(words[2:])
            if does:
                chains[words[1]].does.append(does)
    return decided(chains, "INPUT") == DENY


def _iptables_target(words: Sequence[str]) -> str:
    """Return what a rule without a condition does, "" for one with a condition."""
    rest = list(words)
    if rest[:3] == ["-m", "comment", "--comment"]:
        rest = rest[4:]
    if len(rest) < 2 or rest[0] not in {"-j", "-g"}:
        return ""
    if len(rest) > 2 and not rest[2].startswith("--reject-with"):
        return ""
    known = {"DROP": DENY, "REJECT": DENY, "ACCEPT": ACCEPT, "RETURN": "return"}
    if rest[1] in known:
        return known[rest[1]]
    if rest[1] in {"LOG", "NFLOG", "ULOG", "AUDIT", "MARK", "CONNMARK"}:
        return ""
    return ("jump " if rest[0] == "-j" else "goto ") + rest[1]


def open_zones(text: str) -> list[str] | None:
    """Return the zones in use that accept everything, of the default zone and then all zones.

    None where the text is not what firewall-cmd prints.
    """
    first, _, rest = text.partition("\n")
    zones: dict[str, tuple[bool, str]] = {}
    name = ""
    for row in rest.split("\n"):
        head = re.fullmatch(r"(\S+)(?: \(([a-z, ]+)\))?\s*", row)
        if head:
            name = head.group(1)
            zones[name] = ("active" in (head.group(2) or ""), "")
        target = re.fullmatch(r"\s+target: (\S+)\s*", row)
        if target and name:
            zones[name] = (zones[name][0], target.group(1))
    default = first.strip()
    if default not in zones or any(not target for _, target in zones.values()):
        return None
    return [
        zone
        for zone, (active, target) in zones.items()
        if target == "ACCEPT" and (active or zone == default)
    ]
