"""Secrets masked in what a host answered, before it is hashed and kept.

What would need a secret is not collected in the first place; this is the net below. It knows
secrets by their form, so a password in plain words is caught only where it is named as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from openwatch.evidence.plain import is_spared


class Redacted(msgspec.Struct, frozen=True):
    """Content that may be kept, and the secrets that were masked in it: these may not."""

    content: bytes
    secrets: tuple[bytes, ...] = ()

    @property
    def masked(self) -> int:
        """How many were masked."""
        return len(self.secrets)

    def __repr__(self) -> str:
        """Count the secrets, never show them."""
        return f"Redacted({len(self.content)} bytes, {self.masked} masked)"


class _Form(msgspec.Struct, frozen=True):
    """How a kind of secret looks; nothing is searched where none of its `signs` occurs.

    `group` is the part that is masked, -1 the last group that matched. A folded pattern is of lower case and is searched in a
    lower-cased copy: several times faster than ignoring case. Where it is `named`, the first group is
    a name and its sign, and not every such name is a secret's.
    """

    signs: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    kind: str
    group: int = 0
    folded: bool = False
    named: bool = False


# What is named as a secret: `password = x`, `secret: "x"`; not a setting of that name, a path, a
# reference to where it is, or the sources nsswitch.conf names. Without quotes it ends where a list
# goes on with another name. A pattern for each name: one that begins with plain text is found fast.
_NAMES = (
    *("password", "passwd", "passphrase", "passcode", "secret", "token", "community"),
    *("bindpw", "rootpw", "psk", "authtok"),
    *(f"{what}[_-]?key" for what in ("api", "secret", "access", "account", "private")),
    *(f"{what}[_-]?key" for what in ("encryption", "fastopen", "pre[_-]?shared")),
)
_VALUE = (
    rb"[\"']?[ \t]*[=:]{1,2}[ \t]*)"
    rb"(?![\"']?(?:\[redacted|(?:no|yes|true|false|none|files|compat|systemd|sss|db|ldap"
    rb"|winbind|nis|nisplus|altfiles|mymachines|\d{1,4})(?=[\s\"',;\[]|\Z)|[x*!]+[:\s]|/))"
    rb"(?:\"([^\"\n]{4,})\"|'([^'\n]{4,})'|((?:[^\s\"',;]|[,;](?![\w.-]+[ \t]*[=:])){4,}))"
)
_NAMED = tuple(
    _Form(
        (re.split(r"\[", name)[0].encode(),),
        re.compile(b"(" + name.encode() + _VALUE),
        "secret",
        group=-1,
        folded=True,
        named=True,
    )
    for name in _NAMES
)
# Named as one by the word before it, without a sign between them
_WORDED = tuple(
    _Form(
        (word,),
        re.compile(word + rb"(?<![\w-]" + word + rb")[ \t]+(?!\[redacted|/)(\S{3,})"),
        "secret",
        group=1,
        folded=True,
    )
    for word in (
        *(b"bindpw", b"rootpw", b"rootpwmodpw", b"bindpass", b"requirepass", b"masterauth"),
        *(b"tls_keypass", b"rocommunity", b"rwcommunity", b"rocommunity6", b"rwcommunity6"),
    )
)
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
        (b"bearer", b"basic"),
        re.compile(rb"\b((?:bearer|basic)\s+)([a-z0-9._~+/-]{16,}=*)"),
        "token",
        group=2,
        folded=True,
    ),
    _Form((b"://",), re.compile(rb"(://[^:/@\s]*:)([^@/\s]+)(?=@)"), "password", group=2),
    *_NAMED,
    *_WORDED,
    _Form(
        (b"login",),
        re.compile(rb"login[ \t\n]+\S+[ \t\n]+password[ \t\n]+(?!\[redacted|/)(\S{3,})"),
        "secret",
        group=1,
        folded=True,
    ),
    _Form(
        (b"createuser",),
        re.compile(
            rb"^[ \t]*createuser[ \t]+(?:-e[ \t]+\S+[ \t]+)?\S+[ \t]+(?!\[redacted)(\S[^\n]*)",
            re.MULTILINE,
        ),
        "secret",
        group=1,
        folded=True,
    ),
    _Form((b"AIza",), re.compile(rb"\bAIza[0-9A-Za-z_-]{35}"), "token"),
    _Form((b"hvs.",), re.compile(rb"\bhvs\.[A-Za-z0-9_-]{20,}"), "token"),
    _Form((b"sk_live_", b"rk_live_"), re.compile(rb"\b[rs]k_live_[A-Za-z0-9]{16,}"), "token"),
    _Form((b"npm_",), re.compile(rb"\bnpm_[A-Za-z0-9]{30,}"), "token"),
)


def redact(content: bytes) -> Redacted:
    """Return the content with every secret it recognises masked, and their number."""
    return _redacted(content, _FORMS)


def redact_all(contents: Sequence[bytes]) -> list[Redacted]:
    """Return each content as `redact` does.

    Looking at all of them together says which forms none of them can hold: four times faster.
    """
    # A mask's own words count too: they stand in what later forms are looked for in.
    whole = b"\n".join((*contents, *{_mask_of(form) for form in _FORMS}))
    folded = whole.lower()
    forms = [form for form in _FORMS if _has_sign(folded if form.folded else whole, form)]
    return [_redacted(content, forms) for content in contents]


def _redacted(content: bytes, forms: Sequence[_Form]) -> Redacted:
    if not content:  # most answers on standard error: fifty forms cost more than all else of it
        return Redacted(content)
    secrets: list[bytes] = []
    folded = content.lower()
    for form in forms:
        searched = folded if form.folded else content
        if _has_sign(searched, form):
            masked = _mask(content, searched, form, secrets)
            if masked is not content:
                content, folded = masked, masked.lower()
    return Redacted(content, tuple(secrets))


def _has_sign(text: bytes, form: _Form) -> bool:
    for sign in form.signs:  # noqa: SIM110 - a generator would take three times as long
        if sign in text:
            return True
    return False


def _mask_of(form: _Form) -> bytes:
    return f"[redacted: {form.kind}]".encode()


def without(content: bytes, secrets: Iterable[bytes]) -> Redacted:
    """Return the content with these secrets masked, wherever they stand and whatever is around."""
    found = [secret for secret in secrets if secret in content]
    for secret in found:
        content = content.replace(secret, b"[redacted: secret]")
    return Redacted(content, tuple(found))


def is_telling(secret: bytes) -> bool:
    """Return whether a secret is unlike a common word, and can be looked for everywhere."""
    return len(secret) >= 16 or (len(secret) >= 8 and not secret.isalpha())


def _mask(content: bytes, searched: bytes, form: _Form, secrets: list[bytes]) -> bytes:
    """Return the content masked, the very same where nothing was found."""
    mask = _mask_of(form)
    parts: list[bytes] = []
    end = at = 0
    while found := form.pattern.search(searched, at):
        if form.named and is_spared(content, *found.span(1)):
            at = found.end(1)  # what follows may hold a secret all the same
            continue
        begin, after = found.span(found.lastindex or 0 if form.group < 0 else form.group)
        parts += (content[end:begin], mask)
        secrets.append(content[begin:after])
        end = after
        at = max(found.end(), at + 1)
    return b"".join((*parts, content[end:])) if parts else content
