"""What a request says, as typed values: path, query and body. Raise InvalidInput, TooLarge."""

from __future__ import annotations

import datetime as dt
import re
import types
import typing
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import falcon
import msgspec

from openwatch import errors
from openwatch.web.operations import Operation
from openwatch.web.requests import most_body

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_WHERE = re.compile(r" - at `(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"contains unknown field `(?P<field>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]*)`")
_PATH_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MOST_TEXT = 512
_MOST_PARAMETERS = 100
_SEQUENCES = (list, tuple, set, frozenset)


def path_parameters(operation: Operation, values: dict[str, str]) -> dict[str, Any]:
    """Return the path's parameters: UUIDs, and free text where the row says so."""
    return {
        name: _text(name, value) if name in operation.texts else _uuid(name, value)
        for name, value in values.items()
    }


def query(operation: Operation, text: str) -> Any:
    """Return the query string as the row's Struct; parameters it does not name are ignored."""
    given: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(
            text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict"
        ):
            given.setdefault(name, []).append(value)
    except ValueError:  # UnicodeDecodeError is one
        raise errors.InvalidInput(
            "The query string is not valid.", code="validation.malformed"
        ) from None
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(operation.query):
        name, found = field.encode_name, given.get(field.encode_name)
        if found is None:
            if field.required:
                raise errors.InvalidInput(
                    f"The query parameter {name} is required.",
                    code="validation.field_required",
                    field=name,
                )
            continue
        if any("\0" in one for one in found):
            raise _bad_format(name, "text without the character U+0000")
        if not _is_sequence(field.type):
            if len(found) > 1:
                raise _bad_format(name, "one value")
            values[name] = _converted(name, found[0], field.type)
        else:
            values[name] = _converted(name, found, field.type)
    return msgspec.convert(values, operation.query)


def body(operation: Operation, req: falcon.Request) -> Any:
    """Return the request's body as the row's Struct, with its defaults where it may be left out."""
    raw = raw_body(req)
    if not raw.strip():
        if not operation.needs_body:
            return operation.body()
        raise errors.InvalidInput(
            "A JSON body is required.", code="validation.invalid_body", pointer=""
        )
    try:
        decoded = msgspec.json.decode(raw, type=operation.body)
        if b"\\u0000" in raw:
            _require_storable(msgspec.json.decode(raw), "")
    except msgspec.ValidationError as error:
        raise _invalid_body(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = (
            str(error) if isinstance(error, msgspec.DecodeError) else "not UTF-8, or too deep"
        )
        raise errors.InvalidInput(
            f"The body is not valid JSON: {reason}.", code="validation.malformed", pointer=""
        ) from None
    return decoded


def raw_body(req: falcon.Request) -> bytes:
    """Return the body as it was sent, however often it is asked for. Raise TooLarge."""
    known: bytes | None = req.context.get("body")
    if known is not None:
        return known
    most, announced = most_body(req.path), req.content_length or 0
    if announced > most:
        raise _too_large(announced, most)
    raw: bytes = req.bounded_stream.read(most + 1)
    if len(raw) > most:
        raise _too_large(len(raw), most)
    req.context.body = raw
    return raw


def _uuid(name: str, value: str) -> UUID:
    if not value or ":" in value:  # a slash too many, or a verb that the path does not have
        raise errors.NotFound("There is nothing at this path.")
    if not _UUID.fullmatch(value):
        raise _bad_format(name, "uuid")
    return UUID(value)


def _text(name: str, value: str) -> str:
    if not value or len(value) > _MOST_TEXT or "\0" in value:
        raise _bad_format(name, f"1 to {_MOST_TEXT} characters, none of them U+0000")
    return value


def _converted(name: str, value: Any, kind: Any) -> Any:
    # A number would be taken for seconds since 1970: 20260101 is a day in August of that year.
    is_instant = _is_instant(kind)
    try:
        found = msgspec.convert(value, kind, strict=is_instant)
    except msgspec.ValidationError as error:
        raise _bad_format(name, _WHERE.sub("", str(error))) from None
    if not is_instant:
        return found
    try:
        return found.astimezone(dt.UTC)
    except OverflowError:
        raise _bad_format(name, "an instant in the years 1 to 9999, in UTC") from None


def _is_sequence(kind: Any) -> bool:
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _is_sequence(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return any(_is_sequence(one) for one in typing.get_args(kind))
    return kind in _SEQUENCES or origin in _SEQUENCES


def _is_instant(kind: Any) -> bool:
    if typing.get_origin(kind) in (typing.Annotated, typing.Union, types.UnionType):
        return any(_is_instant(one) for one in typing.get_args(kind))
    return kind is dt.datetime


def _bad_format(name: str, expected: str) -> errors.InvalidInput:
    return errors.InvalidInput(
        f"{name} has a value that cannot be used: {expected}.",
        code="validation.field_format",
        field=name,
        expected=expected,
    )


def _too_large(size: int, most: int) -> errors.TooLarge:
    return errors.TooLarge(
        f"The body is larger than {most} bytes.", max_bytes=most, actual_bytes=size
    )


def _invalid_body(reason: str) -> errors.InvalidInput:
    """Turn msgspec's sentence, with its path in prose, into a code and a JSON pointer."""
    found = _WHERE.search(reason)
    path = found["path"] if found else ""
    steps = [a or b for a, b in _PATH_STEP.findall(path)]
    missing, unknown = _MISSING.search(reason), _UNKNOWN.search(reason)
    if named := missing or unknown:
        steps.append(named["field"])
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    return errors.InvalidInput(
        f"The body cannot be used: {_WHERE.sub('', reason)}"
        + (f" at {pointer}." if pointer else "."),
        code="validation.field_required"
        if missing
        else "validation.field_unknown"
        if unknown
        else "validation.invalid_value"
        if reason.startswith("Invalid enum value")
        else "validation.invalid_body",
        pointer=pointer,
        **({"field": steps[-1]} if steps else {}),
    )


def _require_storable(value: Any, pointer: str) -> None:
    """Raise InvalidInput for U+0000, which PostgreSQL's text cannot hold."""
    if isinstance(value, str):
        if "\0" in value:
            raise errors.InvalidInput(
                f"The character U+0000 cannot be stored (at {pointer}).",
                code="validation.invalid_body",
                pointer=pointer,
            )
    elif isinstance(value, dict):
        for name, one in value.items():
            _require_storable(name, f"{pointer}/{name}".replace("\0", "\\0"))
            _require_storable(one, f"{pointer}/{name}".replace("\0", "\\0"))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            _require_storable(one, f"{pointer}/{number}")
