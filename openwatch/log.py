"""Logs: one JSON object a line, a sentence for people, a stable event name and typed fields.

`log.event(logger, logging.INFO, "scan.finished", "scan of web-1 finished", host="web-1")`
Ids bound with `bind` appear on every line until the block ends.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TextIO

import msgspec

_bound: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar(
    "bound", default=MappingProxyType({})
)
_SECRET = re.compile(
    r"(://[^:/@\s]*:)[^@\s]+(@)|((?:password|passwd|secret|token)=)[^\s&]+", re.IGNORECASE
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


def redact(text: str) -> str:
    """Mask a password inside a URL or a keyword DSN; a last net under code that never logs one."""
    return _SECRET.sub(lambda m: f"{m[1]}***{m[2]}" if m[1] else f"{m[3]}***", text)


@contextlib.contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Add fields to every line logged inside the block, by this thread or task."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def bound(name: str) -> Any:
    """Return what is bound under a name by this thread or task, None where nothing is."""
    return _bound.get().get(name)


def event(logger: logging.Logger, level: int, name: str, sentence: str, **fields: Any) -> None:
    """Log one sentence under a stable event name."""
    logger.log(level, sentence, extra={"event": name, "fields": fields})


def _redacted(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: redact(v) if isinstance(v, str) else v for k, v in fields.items()}


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": "warn" if record.levelno == logging.WARNING else record.levelname.lower(),
            "msg": redact(record.getMessage()),
            "event": getattr(record, "event", record.name),
            **_redacted(_bound.get()),
            **_redacted(getattr(record, "fields", {})),
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return msgspec.json.encode(line, enc_hook=str).decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {**_bound.get(), **getattr(record, "fields", {})}
        tail = "".join(f" {k}={v}" for k, v in fields.items())
        # What a host or a client said could look like another line, or steer the terminal.
        said = _UNPRINTABLE.sub(_escaped, redact(record.getMessage() + tail))
        text = f"{record.levelname.lower():<7} {said}"
        if record.exc_info:
            text += "\n" + redact(self.formatException(record.exc_info))
        return text


def configure(level: str = "info", form: str = "json", stream: TextIO | None = None) -> None:
    """Send every logger's lines to the stream (standard error by default; the journal reads it)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    for noisy in ("paramiko", "peewee", "waitress"):
        logging.getLogger(noisy).setLevel(max(LEVELS[level], logging.WARNING))
