"""Secrets masked in what a host answered, before it is hashed and kept.

What would need a secret is not collected in the first place; this is the net below. It knows
secrets by their form, so a password in plain words is caught only where it is named as one.
"""

from __future__ import annotations

import re

import msgspec


class Redacted(msgspec.Struct, frozen=True):
    """Content that may be kept, and how many secrets were masked in it."""

    content: bytes
    masked: int


class _Form(msgspec.Struct, frozen=True):
    """How a kind of secret looks; nothing is searched where none of its `signs` occurs.

    `group` is the part that is masked. A folded pattern is of lower case and is searched in a
    lower-cased copy: several times faster than ignoring case.
    """

    signs: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    kind: str
    group: int = 0
    folded: bool = False


_FORMS = (
    # A key that was cut off has no end line: everything that looks like its body goes with it.
    # A hostile host chooses the text, so how far the end line is looked for has a bound.
    _Form(
        (b"PRIVATE KEY",),
        re.compile(
            rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY( BLOCK)?-----"
            rb"(?:.{0,20000}?-----END \1PRIVATE KEY\2?-----|[A-Za-z0-9+/=\s:,.-]*)",
            re.DOTALL,
        ),
        "private key",
    ),
    _Form(
        (b"AGE-SECRET-KEY-1",),
        re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{20,}"),
        "private key",
    ),
    # crypt(5): $id$...; the ids are those of libxcrypt, and Argon2's
    _Form(
        (b"$",),
        re.compile(
            rb"\$(?:1|2[abxy]|3|5|6|7|md5|sha1|y|gy|argon2(?:i|d|id)|pbkdf2[a-z0-9-]*)"
            rb"\$[A-Za-z0-9./,=+_$-]{12,}"
        ),
        "password hash",
    ),
    _Form(
        (b"grub.pbkdf2",),
        re.compile(rb"grub\.pbkdf2\.sha512\.\d+\.[0-9A-Fa-f]+\.[0-9A-Fa-f]+"),
        "password hash",
    ),
    _Form(
        (b"{S", b"{MD5", b"{CRYPT"),
        re.compile(rb"\{(?:SSHA|SHA|SMD5|MD5|CRYPT)\d*\}[A-Za-z0-9./+=]{12,}"),
        "password hash",
    ),
    # A line of /etc/shadow whose hash has none of these forms (traditional DES)
    _Form(
        (b"::",),
        re.compile(
            rb"^([a-z_][a-z0-9_.-]*\$?:!{0,2})([A-Za-z0-9./]{13,})"
            rb"(?=:\d*:\d*:\d*:\d*:\d*:\d*:\d*$)",
            re.MULTILINE,
        ),
        "password hash",
        group=2,
    ),
    _Form(
        (b"eyJ",),
        re.compile(
            rb"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*"
        ),
        "token",
    ),
    _Form(
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
        "token",
    ),
    _Form((b"glpat-",), re.compile(rb"\bglpat-[A-Za-z0-9_-]{20,}"), "token"),
    _Form((b"xox",), re.compile(rb"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"), "token"),
    _Form((b"AKIA", b"ASIA"), re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), "token"),
    _Form(
        (b"earer", b"EARER", b"asic", b"ASIC"),
        re.compile(rb"\b((?:bearer|basic)\s+)([a-z0-9._~+/-]{16,}=*)"),
        "token",
        group=2,
        folded=True,
    ),
    _Form((b"://",), re.compile(rb"(://[^:/@\s]*:)([^@/\s]+)(?=@)"), "password", group=2),
    # Named as a secret: `password = x`, `secret: "x"`; not a setting of that name, a path, a
    # reference to where it is, or the sources nsswitch.conf names.
    _Form(
        (b"=", b":"),
        re.compile(
            rb"((?:password|passwd|passphrase|secret|token|api[_-]?key|secret[_-]?key|access[_-]?key"
            rb"|private[_-]?key|psk|bindpw|rootpw|community)[\"']?[ \t]*[=:][ \t]*[\"']?)"
            rb"(?!\[redacted|(?:no|yes|true|false|files|compat|systemd|sss|db)\b|\d{1,4}\b|[x*!]+[:\s]|/)"
            rb"([^\s\"',;:]{4,})"
        ),
        "secret",
        group=2,
        folded=True,
    ),
)


def redact(content: bytes) -> Redacted:
    """Return the content with every secret it recognises masked, and their number."""
    masked = 0
    for form in _FORMS:
        if any(sign in content for sign in form.signs):
            content, count = _mask(content, form)
            masked += count
    return Redacted(content, masked)


def _mask(content: bytes, form: _Form) -> tuple[bytes, int]:
    mask = f"[redacted: {form.kind}]".encode()
    parts: list[bytes] = []
    end = count = 0
    for found in form.pattern.finditer(content.lower() if form.folded else content):
        begin, after = found.span(form.group)
        parts += (content[end:begin], mask)
        end = after
        count += 1
    return b"".join((*parts, content[end:])), count
