"""Whether a rule or a framework is for a host."""

from __future__ import annotations

from openwatch.checks.types import Facts
from openwatch.rules.types import Platform, Rule

_REBUILDS = frozenset(
    {"rhel", "redhat", "centos", "rocky", "almalinux", "alma", "ol", "oracle"}
)


def applies(rule: Rule, facts: Facts) -> bool:
    """Tell whether a rule is for this host; without platforms, or on an unknown system, it is."""
    if not rule.platforms or not facts.family:
        return True
    return any(matches(platform, facts) for platform in rule.platforms)


def matches(platform: Platform, facts: Facts) -> bool:
    """Tell whether a host is of a platform; an unknown version is within all bounds."""
    wanted, family = platform.family.lower(), facts.family
    if platform.derivatives and wanted in _REBUILDS:
        same = family in _REBUILDS
    else:
        same = family == wanted or {family, wanted} == {"rhel", "redhat"}
    if not same:
        return False
    major = facts.major
    if major == 0:
        return True
    return major >= platform.min_version and (
        platform.max_version == 0 or major <= platform.max_version
    )


def described(platforms: tuple[Platform, ...]) -> str:
    """Return the platforms as people write them: `rhel 9 and newer, debian 12 to 13`."""
    return ", ".join(_one(platform) for platform in platforms)


def _one(platform: Platform) -> str:
    low, high = platform.min_version, platform.max_version
    if low and low == high:
        return f"{platform.family} {low}"
    if low and high:
        return f"{platform.family} {low} to {high}"
    if low:
        return f"{platform.family} {low} and newer"
    return f"{platform.family} up to {high}" if high else platform.family
