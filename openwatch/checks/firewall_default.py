"""firewall_default: what comes in from outside is denied unless a rule lets it in."""

from __future__ import annotations

import msgspec

from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    hindered,
    parsed,
    passed,
    said,
    unanswered,
    unexpected,
)
from openwatch.checks.parsers import firewall
from openwatch.checks.types import (
    Facts,
    Method,
    Observation,
    Observations,
    Probe,
    Reason,
    Verdict,
)

_FIREWALLD = Probe(
    "firewall-cmd --get-default-zone && firewall-cmd --list-all-zones", seconds=20.0
)
_UFW = Probe("ufw status verbose", seconds=20.0)
_NFT = Probe("nft -s -t list ruleset", limit=1 << 19)  # no counters, nothing out of sets
_IPTABLES = Probe("iptables -S", limit=1 << 18)
_IP6TABLES = Probe("ip6tables -S", limit=1 << 18)
_ALL = (_FIREWALLD, _UFW, _NFT, _IPTABLES, _IP6TABLES)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether IPv6 must be denied too; `false` is for hosts that do not speak it."""

    ipv6: bool = True


class _Found(msgspec.Struct):
    """What is known so far: the families denied and by what; why more could be."""

    denied: dict[str, str]
    doubts: list[Verdict]
    missing: int = 0


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask whoever may manage the filter, and the kernel's own tables."""
    return _ALL


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Pass where any of them denies each family; a manager's open zone fails all the same."""
    expected = "inbound denied by default" + (", IPv4 and IPv6" if params.ipv6 else ", IPv4")
    found = _Found({}, [])
    zones = _firewalld(found, observations)
    if zones:
        detail = f"firewalld accepts everything in zone {', '.join(zones)}"
        return failed(Reason.DIFFERS, expected, f"open zone {', '.join(zones)}", detail)
    _ufw(found, observations)
    _nft(found, observations)
    _iptables(found, _IPTABLES, "IPv4", observations)
    _iptables(found, _IP6TABLES, "IPv6", observations)
    wanted = ("IPv4", "IPv6") if params.ipv6 else ("IPv4",)
    open_ = [family for family in wanted if family not in found.denied]
    if not open_:
        by = ", ".join(f"{family} by {found.denied[family]}" for family in wanted)
        return passed(expected, "denied", by)
    if found.doubts:
        return found.doubts[0]
    if found.missing == len(_ALL):
        return error(Reason.TOOL_MISSING, "none of firewall-cmd, ufw, nft, iptables is there")
    what = " and ".join(open_)
    return failed(Reason.MISSING, expected, f"{what} open", f"nothing denies inbound {what}")


def _asked(found: _Found, probe: Probe, observations: Observations) -> Observation | None:
    """Return an answer that says something; one that is none is counted or doubted."""
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is None:
        return observation
    if broken.reason is Reason.TOOL_MISSING:
        found.missing += 1
    else:
        found.doubts.append(broken)
    return None


def _firewalld(found: _Found, observations: Observations) -> list[str]:
    """Return the open zones of a firewalld that runs; one without any denies both families."""
    observation = _asked(found, _FIREWALLD, observations)
    if observation is None:
        return []
    if b"not running" in observation.stderr or b"not running" in observation.stdout:
        return []
    if observation.exit != 0:
        found.doubts.append(hindered(observation) or unexpected(observation))
        return []
    zones = parsed(observations, _FIREWALLD, _parse_zones)
    if zones is None or observation.truncated:
        whole = error(Reason.UNPARSABLE, "firewall-cmd printed no list of zones")
        found.doubts.append(cut("all zones") if observation.truncated else whole)
        return []
    if not zones:
        found.denied |= {"IPv4": "firewalld", "IPv6": "firewalld"}
    return zones


def _ufw(found: _Found, observations: Observations) -> None:
    observation = _asked(found, _UFW, observations)
    if observation is None:
        return
    if observation.exit != 0:
        if b"need to be root" in observation.stderr + observation.stdout:
            found.doubts.append(error(Reason.DENIED, "ufw needs to be asked by root"))
        else:
            found.doubts.append(hindered(observation) or unexpected(observation))
        return
    lines = [line.strip() for line in observation.text.split("\n")]
    active = "Status: active" in lines
    if active and any(
        line.startswith(("Default: deny (incoming)", "Default: reject (incoming)"))
        for line in lines
    ):
        found.denied |= {"IPv4": "ufw", "IPv6": "ufw"}
    elif not active and "Status: inactive" not in lines:
        found.doubts.append(error(Reason.UNPARSABLE, "ufw printed no status"))


def _nft(found: _Found, observations: Observations) -> None:
    observation = _asked(found, _NFT, observations)
    if observation is None:
        return
    if observation.exit != 0:
        found.doubts.append(hindered(observation) or unexpected(observation))
    elif observation.truncated:
        found.doubts.append(cut("all of the ruleset"))
    else:
        for family in parsed(observations, _NFT, _parse_nft):
            found.denied.setdefault(family, "nftables")


def _iptables(found: _Found, probe: Probe, family: str, observations: Observations) -> None:
    observation = _asked(found, probe, observations)
    if observation is None:
        return
    if observation.exit != 0:
        detail = said(observation)
        if "Address family not supported" in detail:
            found.denied.setdefault(family, "a kernel without it")
        # The old module of a kernel, where it is not there, holds no rule.
        elif "Table does not exist" not in detail:
            found.doubts.append(hindered(observation) or unexpected(observation))
    elif observation.truncated:
        found.doubts.append(cut("all rules"))
    elif parsed(observations, probe, _parse_iptables):
        found.denied.setdefault(family, "iptables")


def _parse_zones(stdout: bytes) -> list[str] | None:
    return firewall.open_zones(stdout.decode("utf-8", "replace"))


def _parse_nft(stdout: bytes) -> frozenset[str]:
    return firewall.nft_denies(stdout.decode("utf-8", "replace"))


def _parse_iptables(stdout: bytes) -> bool:
    return firewall.iptables_denies(stdout.decode("utf-8", "replace"))


METHOD = Method("firewall_default", Parameters, probes, judge)
