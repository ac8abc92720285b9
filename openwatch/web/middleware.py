"""What happens around every request: its id, its headers, its line in the log, and two guards."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any

import falcon

from openwatch import clock, errors, ids, log
from openwatch.web import headers
from openwatch.web.operations import Operation

SESSION_COOKIE = "openwatch_session"
CSRF_COOKIE = "XSRF-TOKEN"
CSRF_HEADER = "X-CSRF-Token"
LIMITED = frozenset(
    {
        "/api/v1/auth/login",
        "/api/v1/auth/mfa:enroll",
        "/api/v1/auth/mfa:verify",
        "/api/v1/auth/mfa:disable",
        "/api/v1/auth/mfa/recovery-codes:generate",
        "/api/v1/auth/password:change",
    }
)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_PAGES = ("same-origin", "none")  # "none": the person themselves, not a page
_WITHOUT_CSRF = "/api/v1/auth/"
_WITH_CSRF = (  # ours, so no client knows them without
    "/api/v1/auth/sessions",
    "/api/v1/auth/mfa/",
    "/api/v1/auth/mfa:disable",
)
_MOST_ADDRESSES = 10_000
_TURN_PAUSE = 2  # seconds after which a sign-in may be tried again
_V6_SITE = 64  # bits: one client owns at least such a network

_logger = logging.getLogger("openwatch.http")


class Edge:
    """Gives each request its correlation id, each response its headers, the log its line."""

    def __init__(self, answered: Callable[[str | None, int, float], None]) -> None:
        """Take whom to tell of each answer: its operation, its status, and how long it took."""
        self._answered = answered

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Take the client's correlation id where it may be used, else make one."""
        begin(req)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Add what every response carries, and log the request without what it said."""
        correlation_id = begin(req)
        for name, value in headers.SECURITY:
            resp.set_header(name, value)
        resp.set_header(headers.CORRELATION, correlation_id)
        if resp.get_header("Cache-Control") is None:
            resp.set_header("Cache-Control", "no-store")
        operation: Operation | None = req.context.route
        is_quiet = operation is not None and not operation.needs_database
        seconds = clock.monotonic() - req.context.started
        self._answered(operation_of(req), resp.status_code, seconds)
        log.event(
            _logger,
            logging.DEBUG if is_quiet else logging.INFO,
            "http.request",
            "request answered",
            operation=operation_of(req),
            method=req.method,
            status=resp.status_code,
            ms=round(seconds * 1000, 1),
            correlation_id=correlation_id,
        )


def begin(req: falcon.Request) -> str:
    """Return the request's correlation id, made or accepted when first asked for."""
    known: str | None = req.context.get("correlation_id")
    if known is not None:
        return known
    offered = req.get_header(headers.CORRELATION)
    accepted = ids.accepted_correlation_id(offered)
    correlation_id = accepted or ids.correlation_id()
    req.context.started = clock.monotonic()
    req.context.correlation_id = correlation_id
    req.context.route = None
    if offered and not accepted:
        log.event(
            _logger,
            logging.WARNING,
            "http.correlation_replaced",
            "a client's correlation id was replaced",
            offered=ascii(offered[:16]),
            correlation_id=correlation_id,
        )
    return correlation_id


def operation_of(req: falcon.Request) -> str | None:
    """Return the id of the operation that was matched, None where none was."""
    operation: Operation | None = req.context.route
    return operation.id if operation is not None else None


def require_csrf(req: falcon.Request) -> None:
    """Raise Forbidden where another site's page may have made a browser send this.

    A browser that says where the request comes from is believed, also where there is no cookie
    yet: a page could sign its reader in as somebody else.
    """
    if req.method in _SAFE:
        return
    if (req.get_header("Sec-Fetch-Site") or "none") not in _OWN_PAGES:
        raise errors.Forbidden(
            "Another site's page made the browser send this.", code="authz.csrf_invalid"
        )
    if (
        (req.path.startswith(_WITHOUT_CSRF) and not req.path.startswith(_WITH_CSRF))
        or req.get_header("Authorization")
        or not req.cookies.get(SESSION_COOKIE)
    ):
        return
    shown = (req.get_header(CSRF_HEADER) or "").encode()
    expected = (req.cookies.get(CSRF_COOKIE) or "").encode()
    if not expected or not hmac.compare_digest(shown, expected):
        raise errors.Forbidden(
            f"Send the value of the cookie {CSRF_COOKIE} in the header {CSRF_HEADER}.",
            code="authz.csrf_invalid",
        )


class Attempts:
    """A sliding window of attempts for each address, in bounded memory."""

    def __init__(
        self, limit: int = 20, window: float = 60.0, most: int = _MOST_ADDRESSES
    ) -> None:
        """Allow `limit` attempts in `window` seconds; remember the `most` recent addresses."""
        self._limit, self._window, self._most = limit, window, most
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def require(self, address: str) -> None:
        """Count one attempt. Raise RateLimited where there were too many before it."""
        key, now = site(address), clock.monotonic()
        with self._lock:
            seen = self._seen.setdefault(key, deque())
            self._seen.move_to_end(key)
            while seen and seen[0] <= now - self._window:
                seen.popleft()
            is_allowed = len(seen) < self._limit
            if is_allowed:
                seen.append(now)
            while len(self._seen) > self._most:
                self._seen.popitem(last=False)
        if not is_allowed:
            raise errors.RateLimited(
                f"More than {self._limit} attempts in {self._window:.0f} seconds; wait.",
                retry_after_seconds=int(self._window),
                limit=self._limit,
                window_seconds=int(self._window),
            )


class Turns:
    """Leaves a quarter of the request threads, at least one, to who is not signing in.

    Signing in is slow on purpose; from enough addresses it would keep every thread busy.
    """

    def __init__(self, threads: int) -> None:
        """Take how many requests are answered at once."""
        self._free = threading.BoundedSemaphore(max(1, threads - max(1, threads // 4)))

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Hold a turn. Raise Overloaded where all are taken."""
        if not self._free.acquire(blocking=False):
            raise errors.Overloaded(
                "Too many sign-ins at this moment; try again in a few seconds.",
                retry_after_seconds=_TURN_PAUSE,
            )
        try:
            yield
        finally:
            self._free.release()


class ClientAddress:
    """Finds the address of the client behind the proxies that are trusted."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        """Take addresses and networks of proxies."""
        self._trusted = tuple(ipaddress.ip_network(one, strict=False) for one in trusted)

    def of(self, environ: dict[str, Any]) -> str:
        """Return the address nearest to us that is not a trusted proxy's own.

        X-Forwarded-For is read from its end: what stands further left the client may have made up.
        """
        found = str(environ.get("REMOTE_ADDR", ""))
        hops = str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")
        while hops and self._is_trusted(found):
            hop = hops.pop().strip()
            if _parsed(hop) is None:
                break
            found = hop
        return found

    def _is_trusted(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def site(address: str) -> str:
    """Return what one client can be counted by: an IPv4 address, or the /64 of an IPv6 one."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _V6_SITE), strict=False))
    return str(parsed or address)
