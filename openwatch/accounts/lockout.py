"""Progressive lock-out: after some failures a while passes before the next password is looked at.

Three counters sink with time: of a name at a site, of a name at all sites it is new at, and of a site.
Past its allowance each failure doubles the wait, up to a quarter of an hour; what comes while one
waits is not counted, so nobody's wait is made longer by another's impatience. Where a user has signed
in before, only that site's own failures count. An unknown name is counted like a known one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from uuid import UUID

import msgspec

from openwatch import clock, errors
from openwatch.clock import Instant
from openwatch.db import Database, load

LONGEST = dt.timedelta(minutes=15)
_FIRST = 30.0  # seconds of the first wait
_V6_SITE = 64  # bits: one client owns at least such a network
_MOST_SITES = 50  # that are remembered of a user
_SITE_LIVES = dt.timedelta(days=180)
_QUERIES = load("openwatch.accounts", "lockout.sql")


class Allowance(msgspec.Struct, frozen=True):
    """How many failures are free, and how many seconds take one of them back."""

    free: int
    sinks_in: float

    @property
    def most(self) -> float:
        """The level that makes the longest wait; a counter rises no further."""
        level = float(self.free)
        while _wait(level, self.free) < LONGEST.total_seconds():
            level += 1
        return level


# A single site can fail at a name four times, then once in ten minutes. To keep a name out wherever it
# is new takes fifty at once and then one a minute: about ten sites that do nothing else.
PAIR = Allowance(free=5, sinks_in=600)
ACCOUNT = Allowance(free=50, sinks_in=60)
SITE = Allowance(free=30, sinks_in=60)
_FORGOTTEN = dt.timedelta(hours=3)  # longer than any of them takes to sink to nothing


class Attempt(msgspec.Struct, frozen=True):
    """Who wants to sign in, and from where."""

    username: str
    address: str

    @property
    def account(self) -> bytes:
        """What the name is counted by."""
        return _digest("account", self.username)

    @property
    def site(self) -> bytes:
        """What the address is counted by."""
        return _digest("site", site_of(self.address))


def require_open(db: Database, attempt: Attempt, now: Instant) -> None:
    """Raise Forbidden (auth.account_locked) with `unlock_at` where the attempt must wait.

    The answer depends on counters alone, which are kept for any name: it tells nothing of users.
    """
    account, site = attempt.account, attempt.site
    rows = db.rows(_QUERIES["standing"], username=attempt.username, account=account, site=site)
    ends = []
    for row in rows:
        if row["at"] is None:
            continue
        is_pair = row["account"] == account and row["site"] == site
        if row["is_known"] and not is_pair:
            continue
        kind = PAIR if is_pair else ACCOUNT if row["account"] == account else SITE
        ends.append(unlocks_at(kind, row["level"], row["at"]))
    latest = max(ends, default=now)
    if latest > now:
        raise errors.Forbidden(
            "There were too many failed attempts; wait before the next one.",
            code="auth.account_locked",
            unlock_at=clock.rfc3339(latest),
            reason="too_many_failures",
        )


def unlocks_at(kind: Allowance, level: float, at: Instant) -> Instant:
    """Return when a counter of this level at `at` lets the next attempt through."""
    return at + dt.timedelta(seconds=min(LONGEST.total_seconds(), _wait(level, kind.free)))


def failed(db: Database, attempt: Attempt, now: Instant) -> None:
    """Count a failure."""
    account, site = attempt.account, attempt.site
    with db.atomic():
        # Always in this order, so that two failures at once never wait for each other in a ring.
        for kind, of_account, of_site in (
            (PAIR, account, site),
            (ACCOUNT, account, b""),
            (SITE, b"", site),
        ):
            db.run(
                _QUERIES["count"],
                account=of_account,
                site=of_site,
                now=now,
                most=kind.most,
                sinks_in=kind.sinks_in,
            )
    db.run(_QUERIES["forget_old"], before=now - _FORGOTTEN)


def succeeded(db: Database, attempt: Attempt, user_id: UUID, now: Instant) -> None:
    """Forget the failures of the name at the site, and remember the site."""
    db.run(_QUERIES["clear"], account=attempt.account, site=attempt.site)
    db.run(_QUERIES["remember"], user_id=user_id, site=attempt.site, now=now)
    db.run(
        _QUERIES["forget_sites"], user_id=user_id, before=now - _SITE_LIVES, most=_MOST_SITES
    )


def unlock(db: Database, username: str) -> None:
    """Let the name try again at once, wherever it failed."""
    db.run(_QUERIES["unlock"], account=Attempt(username, "").account)


def site_of(address: str) -> str:
    """Return what one client is counted by: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _V6_SITE), strict=False))
    return str(parsed)


def _wait(level: float, free: int) -> float:
    """Return the seconds that follow a failure which raised a counter to this level.

    What sank while one typed does not make the last free failure free again.
    """
    return 0.0 if level < free - 0.5 else float(_FIRST * 2 ** max(0.0, level - free))


def _digest(kind: str, text: str) -> bytes:
    return hashlib.sha256(f"{kind}\0{text}".encode("utf-8", "replace")).digest()
