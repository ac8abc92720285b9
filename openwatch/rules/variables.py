"""Scan variables: their defaults, and how a value enters a rule without becoming YAML or shell.

A scalar that is exactly `{{ name }}` takes the typed value; inside a longer text the value is
inserted as text. In a shell script the value is never program text: one of harmless characters
is written as it is, any other is kept in a shell variable that the script's head assigns.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping

from openwatch.errors import RuleError
from openwatch.rules.document import references

Value = int | str | tuple[str, ...]

_CIPHERS = (
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)
_KEX = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "sntrup761x25519-sha512@openssh.com",
)
_MACS = (
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
)

DEFAULTS: Mapping[str, Value] = {
    "authorized_local_accounts": (),
    "authorized_listening_ports": (),
    "authorized_service_accounts": (),
    "authorized_services": (),
    "suid_sgid_baseline": (),
    "authorized_network_protocols": (),
    "authorized_privileged_users": (),
    "flaw_remediation_max_days": "",
    "antimalware_services": (
        "clamav-daemon clamd@scan clamd mcafeed ds_agent falcon-sensor sophos-spl"
    ),
    "antimalware_updater_services": "clamav-freshclam freshclam clamav-update",
    "antimalware_onaccess_services": "clamav-clamonacc clamonacc",
    "antimalware_scan_units": (
        "clamav-clamdscan.timer clamdscan.timer clamav-daily-scan.timer"
    ),
    "antimalware_scan_cron_match": "clamscan",
    "pam_pwquality_minlen": 15,
    "pam_pwquality_minclass": 4,
    "pam_pwquality_difok": 8,
    "pam_pwquality_maxrepeat": 3,
    "pam_pwquality_maxsequence": 3,
    "pam_pwquality_maxclassrepeat": 4,
    "pam_pwquality_dcredit": -1,
    "pam_pwquality_ucredit": -1,
    "pam_pwquality_lcredit": -1,
    "pam_pwquality_ocredit": -1,
    "gdm_idle_delay_seconds": 900,
    "gdm_lock_delay_seconds": 5,
    "logind_idle_timeout_seconds": 600,
    "shell_idle_timeout_seconds": 600,
    "pam_faildelay_microseconds": 4000000,
    "root_umask": "027",
    "audit_log_partition_min_kb": 10485760,
    "pam_faillock_deny": 3,
    "pam_faillock_fail_interval": 900,
    "pam_faillock_unlock_time": 0,
    "login_defs_pass_max_days": 60,
    "login_defs_pass_min_days": 1,
    "account_inactive_days": 35,
    "login_defs_pass_warn_age": 7,
    "login_defs_umask": "077",
    "shadow_crypt_min_rounds": 100000,
    "password_remember": 5,
    "banner_text": "Use of this system is for authorised people only and is monitored.",
    "rsyslog_remote_server": "logserver.example.com:514",
    "chrony_ntp_pool": "2.rhel.pool.ntp.org iburst",
    "ssh_client_alive_interval": 600,
    "ssh_client_alive_count_max": 1,
    "ssh_max_auth_tries": 4,
    "ssh_max_sessions": 10,
    "ssh_login_grace_time": 60,
    "ssh_approved_ciphers": _CIPHERS,
    "ssh_approved_kex": _KEX,
    "ssh_approved_macs": _MACS,
}

_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")  # means itself anywhere in a shell script
_HARMLESS_QUOTED = re.compile(
    r"[A-Za-z0-9_@%+=:,./ -]*"
)  # and in a program given to awk or sed


def resolve(
    given: Mapping[str, object], base: Mapping[str, Value] = DEFAULTS
) -> Mapping[str, Value]:
    """Return `base` with `given` over it, each value of the type it has there. Raise RuleError.

    A number may be given as text, and a list as words with commas: that is how a command line
    says them. A name that `base` does not have is taken as it is: an operator's own rules may
    use it.
    """
    values: dict[str, Value] = dict(base)
    for name, value in given.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise RuleError(
                f"variable name {name!r} is not a letter followed by letters, digits"
            )
        values[name] = _typed(name, value, base.get(name))
    return values


def _typed(name: str, value: object, default: Value | None) -> Value:
    if isinstance(value, bool) or value is None:
        raise RuleError(f"variable `{name}` must be text, a number or a list, not {value!r}")
    if isinstance(default, int):
        if isinstance(value, int):
            return value
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            return int(value)
        raise RuleError(f"variable `{name}` must be a whole number, not {value!r}")
    if isinstance(default, str) and not isinstance(value, str):
        raise RuleError(f"variable `{name}` must be text, not {value!r}: put it in quotes")
    if isinstance(default, tuple) and isinstance(value, str):
        value = [part for part in re.split(r"[,\s]+", value) if part]
    if isinstance(value, (list, tuple)):
        return tuple(member(name, item) for item in value)
    if isinstance(default, tuple) or not isinstance(value, (int, str)):
        raise RuleError(f"variable `{name}` must be a list of words, not {value!r}")
    return value


def member(name: str, item: object, file: str = "", line: int = 0) -> str:
    """Return one word of a list. Raise RuleError for an empty one, or one with comma or space."""
    text = str(item)
    if not text or re.search(r"[,\s]", text):
        raise RuleError(
            f"variable `{name}`: {text!r} cannot be a member, it is empty or has a comma or space",
            file=file,
            line=line,
        )
    return text


def as_text(value: Value) -> str:
    """Return the text form: a list is joined by commas."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def look_up(name: str, values: Mapping[str, Value], file: str, line: int) -> Value:
    """Return a variable's value. Raise RuleError with the nearest known name."""
    if name in values:
        return values[name]
    near = difflib.get_close_matches(name, values, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else "; declare it under `variables`"
    raise RuleError(f"unknown variable `{name}`{hint}", file=file, line=line)


def exact(text: str, values: Mapping[str, Value], file: str, line: int) -> Value | None:
    """Return the typed value where the whole text is one reference, None where it is not."""
    found = references(text)
    if len(found) == 1 and found[0].group() == text.strip():
        return look_up(found[0].group(1), values, file, line)
    return None


def inserted(text: str, values: Mapping[str, Value], file: str, line: int) -> str:
    """Return the text with every reference replaced by the value's text."""
    pieces, end = [], 0
    for match in references(text):
        pieces += [
            text[end : match.start()],
            as_text(look_up(match.group(1), values, file, line)),
        ]
        end = match.end()
    return "".join([*pieces, text[end:]])


def script(text: str, values: Mapping[str, Value], file: str, line: int) -> str:
    """Return a shell script with its references replaced; no value becomes part of the program.

    A value of harmless characters is written where it stands. Any other is assigned, quoted, in
    the head and read from there, so that a mistake about the quotes around it can cost a wrong
    answer but never run it. In single quotes nothing can be read, and what stands there is often
    a program of another tool, so such a value is refused there. Raise RuleError.
    """
    head: dict[str, str] = {}
    pieces, end = [], 0
    for match in references(text):
        name = match.group(1)
        value = as_text(look_up(name, values, file, line))
        pieces.append(text[end : match.start()])
        end = match.end()
        if _BARE.fullmatch(value):
            pieces.append(value)
            continue
        quote = _quote_at(text[: match.start()])
        if quote == "<":
            raise RuleError(
                f"variable `{name}` stands after a here-document, where its value "
                "cannot be inserted safely: use printf with a quoted argument",
                file=file,
                line=line,
            )
        if quote == "'":
            if not _HARMLESS_QUOTED.fullmatch(value):
                raise RuleError(
                    f"variable `{name}` stands in single quotes, where its value could become "
                    "part of another program: use double quotes",
                    file=file,
                    line=line,
                )
            pieces.append(value)
            continue
        head[name] = value
        pieces.append(f"${{OW_{name}}}" if quote == '"' else f'"${{OW_{name}}}"')
    body = "".join([*pieces, text[end:]])
    return "".join(f"OW_{name}={shlex.quote(v)}\n" for name, v in head.items()) + body


def _quote_at(text: str) -> str:  # noqa: C901, PLR0912 - a scanner is one loop
    """Say which quote is open at the end of a script's beginning; `<` after a here-document."""
    stack = [""]  # "" is code, then the quotes and the $( ) in them
    index = 0
    while index < len(text):
        char, here = text[index], stack[-1]
        if here == "'":
            if char == "'":
                stack.pop()
        elif char == "\\":
            index += 1
        elif char == '"':
            if here == '"':
                stack.pop()
            else:
                stack.append('"')
        elif text.startswith("$(", index):
            stack.append("(")
            index += 1
        elif here == '"':
            pass
        elif char == "'":
            stack.append("'")
        elif char == "(":
            stack.append("(")
        elif char == ")" and here == "(":
            stack.pop()
        elif char == "#" and (index == 0 or text[index - 1] in " \t\n;(&|"):
            newline = text.find("\n", index)
            index = len(text) if newline < 0 else newline
        elif re.match(r"<<-?\s*['\"\\A-Za-z_]", text[index:]):
            return "<"
        index += 1
    return stack[-1] if stack[-1] in {"'", '"'} else ""
