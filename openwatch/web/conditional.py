"""ETags: what a client has seen of a thing, so that it does not overwrite what it has not."""

from __future__ import annotations

import hashlib
import re

from openwatch import errors

_TAG = re.compile(r'\s*((?:W/)?"[^"]*")\s*(?:,|$)')
_LENGTH = 20  # hex digits


def etag(*parts: object) -> str:
    """Return the strong ETag of a version: its id, and `updated_at` or all that it says."""
    text = "\0".join(str(part) for part in parts)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]}"'


def require_match(if_match: str | None, current: str) -> None:
    """Raise PreconditionFailed where the client has named other versions than the current one.

    No header, and `*`, match whatever there is; a weak tag matches nothing (RFC 9110, 13.1.1).
    """
    if if_match is None or if_match.strip() == "*" or current in _TAG.findall(if_match):
        return
    raise errors.PreconditionFailed(
        "It has been changed since it was read; read it again, then change it.",
        current_etag=current,
    )
