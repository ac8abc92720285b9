"""A node of YAML into a value of a given type: the one place where text becomes typed data."""

from __future__ import annotations

import difflib
import enum
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from openwatch.errors import RuleError
from openwatch.rules import variables
from openwatch.rules.document import Node
from openwatch.rules.variables import Value

_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_SCRIPTS = {"run", "cmd", "observed_command"}


class Source(msgspec.Struct, frozen=True):
    """Where nodes come from and what their references stand for."""

    file: str
    values: Mapping[str, Value] = {}

    def error(self, message: str, node: Node | int) -> RuleError:
        """Return a RuleError that names the file and the node's line."""
        line = node if isinstance(node, int) else node.line
        return RuleError(message, file=self.file, line=line)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean `x`?", or the known words where none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.55)
    return f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(words)}"


def known_keys(
    items: Mapping[str, Node], known: Iterable[str], what: str, source: Source
) -> None:
    """Refuse a key that is not known. Raise RuleError."""
    allowed = set(known)
    for key, node in items.items():
        if key not in allowed:
            raise source.error(f"unknown key `{key}` in {what}{nearest(key, allowed)}", node)


def required(
    items: Mapping[str, Node], key: str, what: str, node: Node, source: Source
) -> Node:
    """Return the node of a key that must be there. Raise RuleError."""
    if key in items:
        return items[key]
    near = difflib.get_close_matches(key, items, n=1)
    hint = f"; is `{near[0]}` meant for it?" if near else ""
    raise source.error(f"{what} has no `{key}`{hint}", node)


def text(node: Node, key: str, source: Source) -> str:
    """Return a text exactly as written, its references replaced. Raise RuleError."""
    if node.text is None or node.kind == "nothing":
        raise source.error(f"`{key}` must be a text, found {node.kind}", node)
    if key in _SCRIPTS:
        return variables.script(node.text, source.values, source.file, node.line)
    return variables.inserted(node.text, source.values, source.file, node.line)


def words(node: Node, key: str, source: Source) -> tuple[str, ...]:
    """Return a list of texts; a list variable may stand for all of it. Raise RuleError."""
    if node.text is not None and not node.plain:
        value = variables.exact(node.text, source.values, source.file, node.line)
        if isinstance(value, tuple):
            return value
    return tuple(text(item, key, source) for item in node.sequence(source.file, key))


def _number(node: Node, key: str, source: Source) -> int:
    value: object = None
    if node.text is not None:
        value = variables.exact(node.text, source.values, source.file, node.line)
        if node.plain and re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", node.text):
            return int(node.text)
    if isinstance(value, str) and re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", value):
        return int(value)
    if isinstance(value, int):
        return value
    found = node.kind if node.text is None else repr(node.text if value is None else value)
    raise source.error(f"`{key}` must be a whole number without quotes, found {found}", node)


def boolean(node: Node, key: str, source: Source) -> bool:
    """Return true or false, written without quotes. Raise RuleError."""
    word = (node.text or "").lower()
    if node.plain and word in _TRUE + _FALSE:
        return word in _TRUE
    found = node.kind if node.text is None else repr(node.text)
    raise source.error(f"`{key}` must be true or false without quotes, found {found}", node)


def structure(
    node: Node, wanted: type[msgspec.Struct], what: str, source: Source, ignore: frozenset[str]
) -> Any:
    """Return a Struct of the given type from a mapping, keys of `ignore` left out.

    Raise RuleError for an unknown key (with the nearest), a missing one or a wrong value; a
    ValueError of the Struct's own `__post_init__` becomes one.
    """
    items = {k: v for k, v in node.mapping(source.file, what).items() if k not in ignore}
    fields = msgspec.structs.fields(wanted)
    hints = typing.get_type_hints(wanted)
    known_keys(items, [field.encode_name for field in fields], what, source)
    arguments = {}
    for field in fields:
        if field.encode_name in items:
            arguments[field.name] = _value(
                items[field.encode_name], hints[field.name], field.encode_name, source
            )
        elif field.required:
            required(items, field.encode_name, what, node, source)
    try:
        return wanted(**arguments)
    except ValueError as error:
        raise source.error(f"{what}: {error}", node) from error


def _value(  # noqa: PLR0911 - one line a type
    node: Node, wanted: Any, key: str, source: Source
) -> Any:
    if typing.get_origin(wanted) in {types.UnionType, typing.Union}:
        wanted = next(a for a in typing.get_args(wanted) if a is not type(None))
    if wanted is str:
        return text(node, key, source)
    if wanted is bool:
        return boolean(node, key, source)
    if wanted is int:
        return _number(node, key, source)
    if typing.get_origin(wanted) is tuple:
        return words(node, key, source)
    if typing.get_origin(wanted) is typing.Literal:
        return choice(text(node, key, source), typing.get_args(wanted), key, node, source)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        word = choice(text(node, key, source), [m.value for m in wanted], key, node, source)
        return wanted(word)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return structure(node, wanted, f"`{key}`", source, frozenset())
    raise TypeError(f"no way to read {wanted!r} from YAML")


def choice(word: str, known: Iterable[str], key: str, node: Node, source: Source) -> str:
    """Return the word if it is one of the known. Raise RuleError with the nearest."""
    options = list(known)
    if word in options:
        return word
    near = difflib.get_close_matches(word, options, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    raise source.error(
        f"`{key}` must be one of {', '.join(options)}, found {word!r}{hint}", node
    )
