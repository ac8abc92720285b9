"""The two ways in which libpq writes a connection: a URI, and words of `name = value`.

Both become one mapping from option to value. Only the form is judged here, not the meaning.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from openwatch import errors

_SCHEME = re.compile(r"postgres(?:ql)?://")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AUTHORITY = re.compile(
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<rest>.*)", re.DOTALL
)
_HOST = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<name>[^:/?,\[\]]*))(?::(?P<port>[^/?,]*))?")
_WORD = re.compile(r"\s*(?P<name>[^\s=]+)\s*=\s*(?:'(?P<quoted>(?:\\.|[^'\\])*)'(?=\s|$)|(?P<bare>(?!')(?:\\.|[^\s\\])*)(?=\s|$))", re.DOTALL)  # fmt: skip


def words(text: str) -> dict[str, str]:
    """Return the options of a connection string; the last one of a name counts.

    Raise ConfigError, without the text, which may hold a password.
    """
    return _uri(text) if _SCHEME.match(text) else _keywords(text)


def _uri(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    rest = text[text.index("://") + 3 :]
    who = _AUTHORITY.fullmatch(rest)
    if who is None:
        raise _malformed("it has no host part")
    for name, value in (("user", who["user"]), ("password", who["password"])):
        if value:
            found[name] = _decoded(value, name)
    rest = _hosts(who["rest"], found)
    path, _, query = rest.partition("?")
    if path[1:]:
        found["dbname"] = _decoded(path[1:], "dbname")
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise _malformed(f"the parameter {name!r} needs one '=' and a value")
        found.update(_parameter(_decoded(name, "a parameter's name"), value))
    return found


def _hosts(text: str, found: dict[str, str]) -> str:
    """Read `host:port,host:port` and return what follows."""
    hosts, ports, at = [], [], 0
    while True:
        match = _HOST.match(text, at)
        if match is None:
            raise _malformed("an IPv6 address needs both its brackets")
        hosts.append(match["v6"] or match["name"] or "")
        ports.append(match["port"] or "")
        at = match.end()
        if text[at : at + 1] != ",":
            break
        at += 1
    if text[at : at + 1] not in ("", "/", "?"):
        raise _malformed("after an IPv6 address only ':', ',', '/' or '?' can follow")
    if any(hosts):
        found["host"] = _decoded(",".join(hosts), "host")
    if any(ports):
        found["port"] = _decoded(",".join(ports), "port")
    return text[at:]


def _parameter(name: str, value: str) -> dict[str, str]:
    decoded = _decoded(value, name)
    if name == "ssl":  # what JDBC writes; libpq takes this one value
        if decoded != "true":
            raise _malformed("ssl can only be true; use sslmode")
        return {"sslmode": "require"}
    return {name: decoded}


def _decoded(text: str, where: str) -> str:
    if _BAD_PERCENT.search(text):
        raise _malformed(
            f"{where} has a '%' that two hexadecimal digits do not follow (write %25)"
        )
    raw = unquote_to_bytes(text)
    if b"\0" in raw:
        raise _malformed(f"{where} holds %00")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _malformed(f"{where} is not UTF-8 when decoded") from None


def _keywords(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _WORD.match(text, at)
        if match is None:
            name = re.match(r"\s*([^\s=]*)\s*(=?)", text[at:])
            if name is None or not name[2]:
                raise _malformed("every word must be name=value; one has no '='")
            raise _malformed(
                f"the value of {name[1]} is not ended: quote it as in {name[1]}='...'"
            )
        value = match["quoted"] if match["quoted"] is not None else match["bare"]
        found[match["name"]] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        at = match.end()
    return found


def _malformed(why: str) -> errors.ConfigError:
    return errors.ConfigError(f"the database's DSN cannot be read: {why}")
