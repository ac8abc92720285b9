"""What reads like the name of a secret and is none: a file's name, sudo's tag, a system's refusal.

Answers show lines of files behind their path, so `/etc/passwd:root:x:0:0:...` looks like a password
of "root:x:0:0...". A name is spared only where what follows is known to be no secret: a line as that
file has them. The line itself is looked through like any other text.
"""

from __future__ import annotations

import re

_REACH = 256  # bytes before a name that may hold a path: a host cannot make this look far

# A path at the beginning of a line, its colon, and a line as such files have them
_LINES = tuple(
    re.compile(path + rb":" + line)
    for path, line in (
        # passwd(5): with a hash in it, even a short one, it is no plain line
        (
            rb"/etc/passwd",
            rb"[^\s:]+:!*(?:[x*]?|\$\w{1,4}|hash):[ \t]*[+-]?\d*:[ \t]*[+-]?\d*:",
        ),
        (
            rb"(?:/etc|/usr/lib|/usr/etc|/usr/share)/pam\.d/[\w.+-]+",
            # the last two where a line continues the one before
            (
                rb"[ \t]*(?:$|\n|#|@include[ \t]|-?(?:auth|account|password|session)[ \t]"
                rb"|\[?(?:/[\w./-]+/)?pam_\w+\.so(?:\s|\])|[a-z_]+=)"
            ),
        ),
        (
            rb"/etc/sudoers\.d/[\w.+-]+",
            rb"[ \t]*(?:$|\n|#|@include|Defaults\b|\w+_Alias[ \t]|[%+\w.-]+[ \t]+[\w.-]+[ \t]*=)",
        ),
    )
)
# sudoers(5): NOPASSWD and PASSWD are tags. Commands, their aliases and further tags follow; before
# them stands a user specification, of which our verdicts show whom the command runs as.
_NO_TAG = re.compile(rb"(?<![\w-])NO\Z")
_RUN_AS = re.compile(rb"\([^()\n]*\) (?:[A-Z_]+: )*\Z")
_COMMANDS = re.compile(rb"[ \t]*(?:!?/|!?[A-Z][A-Z0-9_]*(?:[ \t]*[,:\n]|[ \t]*\Z))")
_SUDOERS = re.compile(rb"/etc/sudoers(?:\.d/[\w.+-]+)?:")
# errno(3), as a tool says it of a file or a setting; and what our verdicts say of a file
_REFUSED = re.compile(
    rb" (?:(?:owner|group|mode) is [\w.+-]+(?:,[^\n:=]*)?"
    rb"|No such (?:file or directory|process|device|device or address)"
    rb"|Permission denied|Operation not (?:permitted|supported)|Is a directory|Not a directory"
    rb"|Input/output error|Invalid argument|Function not implemented|Text file busy"
    rb"|Too many (?:levels of symbolic links|open files)|Read-only file system"
    rb"|Stale file handle|Transport endpoint is not connected|File name too long)"
    rb"[ \t\r]*(?:\n|\Z)"
)


def is_spared(content: bytes, begin: int, end: int) -> bool:
    """Return whether the name from `begin`, whose sign and spaces end at `end`, names no secret."""
    name, sign, _ = content[begin:end].partition(b":")
    if not sign or b"=" in content[begin:end] or b"::" in content[begin:end]:
        return False
    colon = begin + len(name)
    if _REFUSED.match(content, colon + 1):
        return True
    reach = max(0, begin - _REACH)
    line = content.rfind(b"\n", reach, begin) + 1
    if name == b"PASSWD":
        return _is_tag(content, line or reach, begin, colon)
    if (reach and not line) or b":" in content[line:colon]:
        return False  # it is not what the line begins with
    return any(form.match(content, line) for form in _LINES)


def _is_tag(content: bytes, line: int, begin: int, colon: int) -> bool:
    if _NO_TAG.search(content, line, begin):
        return True
    is_specification = (
        b"=" in content[line:begin]
        or _SUDOERS.match(content, line, begin)
        or _RUN_AS.search(content, line, begin)
    )
    return bool(is_specification and _COMMANDS.match(content, colon + 1))
