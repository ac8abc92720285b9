"""What the API's document says in prose, and what every answer has in common."""

from __future__ import annotations

import inspect
import re
from typing import Any

from openwatch.accounts.permissions import Permission
from openwatch.web.operations import Access, Operation

ABOUT = """\
Watches a fleet of Linux hosts over SSH for security compliance, and keeps the history.

**Signing in.** `POST /api/v1/auth/login` sets the cookies that a browser needs and returns a bearer token
for everybody else. With the session's cookie every change carries the value of the cookie `XSRF-TOKEN` in
the header `X-CSRF-Token`. An API token (`owk_...`) is sent as a bearer token.

**Errors** have one shape, `ErrorEnvelope`; `error.code` is for programs. Each operation's `x-error-codes`
names the codes it answers with by status, and `x-error-codes` of the document what they mean.

**Every answer** has `X-Correlation-Id`: the one of the request where it was sent, else one made here. It
stands in the log and in the audit trail.

**Lists** are whole without `limit` and `cursor` unless their operation says otherwise; `next_cursor` leads
to the next page and is absent behind the last.

**Changes** take an `Idempotency-Key`: the same request under the same key has one effect, and its answer
is given again for 24 hours, with `Idempotency-Replayed: true`."""

TAGS = {
    "audit": "The audit trail: who did what to what, sealed in a chain that shows every change.",
    "auth": "Signing in and out, sessions, passwords and the second factor.",
    "compliance": "Where hosts stand: verdicts, frameworks, what fails, and how often it is looked at.",
    "credentials": "What the service signs in to hosts with; secrets go in and never come out.",
    "diagnostics": "Trying the platform: echoes, permissions, a job that does nothing.",
    "events": "What happens, while it happens.",
    "fleet": "The whole fleet in a few numbers.",
    "hosts": "The hosts that are watched, and the keys that they show.",
    "intelligence": "What is on the hosts beside their compliance, and what has changed there.",
    "posture": "Where the fleet stood, now or at an instant of the past.",
    "roles": "Sets of permissions, those of the program and your own.",
    "scans": "What was asked of hosts and when, with the evidence.",
    "system": "The service itself: health, version, settings, this document.",
    "tokens": "API tokens, for programs.",
    "users": "People, and what they may do.",
}

PARAMETERS = {
    "action": "Only events of this code, such as `auth.login.success`.",
    "actor_id": "Only what this user or API token did.",
    "actor_type": "Only what this kind of caller did.",
    "all": "All that there are, whosever they are.",
    "at": "The instant asked about (RFC 3339 with a zone); now where it is left out.",
    "auth_method": "Only credentials of this kind.",
    "correlation_id": "Only what belongs to this request.",
    "created_by": "Only what this user made.",
    "cursor": "The `next_cursor` of the page before.",
    "days": "How many days, up to today.",
    "email": "Only the user with this address.",
    "environment": "Only hosts of this environment.",
    "event_code": "Only changes of this kind.",
    "format": "The form of the file.",
    "framework": "A framework (`cis_debian12`), or a family (`cis`), of which each host has its own; every"
    " rule where it is left out.",
    "host_id": "The host's id.",
    "id": "The thing's id.",
    "is_built_in": "Only those of the program, or only your own.",
    "key_type": "Only keys of this kind.",
    "lane": "Only scans of this lane.",
    "limit": "How many at most.",
    "os_family": "Only hosts of this family of systems.",
    "outcome": "Only events that ended like this.",
    "platform_identifier": "Only hosts of this platform.",
    "q": "Text that has to occur, in whatever case.",
    "resource_id": "Only what was done to this thing.",
    "resource_type": "Only what was done to things of this kind.",
    "role_id": "Only those with this role.",
    "ruleId": "The rule's id.",
    "scan_state": "Only hosts with a scan in this state.",
    "scope": "Only credentials of this scope.",
    "scope_id": "Only the credentials of this host.",
    "severity": "Only what is this severe.",
    "since": "From this instant on (RFC 3339 with a zone).",
    "sort": "The order; `-` before it turns it round.",
    "state": "Only those in this state.",
    "status": "Only those of this status.",
    "tag": "Only hosts with this tag.",
    "topics": "Kinds of events, with commas between them; unknown ones are left out.",
    "trigger_source": "Only scans that were started like this.",
    "until": "Up to this instant, without it (RFC 3339 with a zone).",
    "username": "Only the user of this name.",
}

ANONYMOUS = {
    "postAuthLogin": "Nobody has signed in before they do.",
    "postAuthLogout": "Whoever has no session any more may still want the cookies gone.",
    "postAuthRefresh": "The access token has run out; the refresh token says who it is.",
    "postAuthRefreshCookie": "The session has run out; the refresh cookie says who it is.",
}

SCHEMES: dict[str, dict[str, Any]] = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "openwatch_session",
        "description": "Set by signing in; changes carry X-CSRF-Token as well.",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The access token of a sign-in; it lasts half an hour.",
    },
    "apiToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "owk_...",
        "description": "A token made by POST /api/v1/tokens, for programs.",
    },
}

HEADERS = {
    "X-Correlation-Id": "Names this request in the log and in the audit trail.",
    "Retry-After": "Seconds to wait before the next attempt.",
    "WWW-Authenticate": "Bearer.",
    "ETag": "The thing's version, for If-Match.",
    "Idempotency-Replayed": "`true` where this is the answer to an earlier request under the same key.",
    "Content-Disposition": "The file's name.",
    "Allow": "The methods that there are.",
    "Set-Cookie": "The session, the refresh token and XSRF-TOKEN; cleared where they have ended.",
}
_RAISE = re.compile(r"\s*\bRaise[sd]?\b[^.]*(\.[^.\s][^.]*)*\.(?=\s|$)")


def description(row: Operation) -> str:
    """Return what an operation does, who may call it, and what is special about it."""
    told = _RAISE.sub("", inspect.cleandoc(row.handler.__doc__ or "")).strip()
    if told.rstrip(".") == row.summary:
        told = ""
    return "\n\n".join(part for part in (told, " ".join(_notes(row))) if part)


def _notes(row: Operation) -> list[str]:
    notes = []
    if isinstance(row.permission, Permission):
        notes.append(f"Needs the permission `{row.permission.value}`.")
    elif row.permission is Access.SESSION:
        notes.append("For whoever has signed in; an API token is nobody in person.")
    else:
        notes.append("For everybody.")
    if row.idempotency_key:
        notes.append("Requires an `Idempotency-Key`.")
    if row.secret_response:
        notes.append("What it shows once is not given again for a repeated `Idempotency-Key`.")
    if row.takes_if_match:
        notes.append("With `If-Match` it is refused where the thing has been changed since.")
    if row.listing is not None and row.listing.limit is None:
        notes.append("The whole list where neither `limit` nor `cursor` is given.")
    elif row.listing is not None:
        notes.append(f"In pages of {row.listing.limit} unless `limit` says otherwise.")
    if row.is_export:
        notes.append("A connection that ends early means that the file is not whole.")
    return notes
