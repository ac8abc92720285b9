"""The headers every response carries, whoever made it (api-contract 1.15)."""

from __future__ import annotations

_CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'self'; object-src 'none'; form-action 'self'"
)

CORRELATION = "X-Correlation-Id"

SECURITY: tuple[tuple[str, str], ...] = (
    ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", _CONTENT_POLICY),
)
