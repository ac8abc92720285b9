"""YAML into a tree of nodes that keep their line and their text as written.

A scalar stays text until somebody says which type is wanted, so `no` stays a word where a word is
wanted and `0644` never becomes 420. Built from parser events: nesting and aliases are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from openwatch.errors import RuleError

MAX_BYTES = 1 << 20
_MAX_DEPTH = 40
_MAX_NODES = 200_000  # of one document, aliases counted as what they stand for

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_REFERENCE = re.compile(r"\{\{[ \t]*([A-Za-z][A-Za-z0-9_]*)[ \t]*\}\}")
# What stands for `{{ name }}` while YAML is read, to which it would be a mapping: two characters
# of the private use area, which are words to YAML wherever they stand.
_MARKED = re.compile("\ue000([A-Za-z][A-Za-z0-9_]*)\ue001")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_SCALAR_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}
_TAGS = {"!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


class Node(msgspec.Struct):
    """A scalar (`text`), a mapping (`items`) or a list (`elements`), and where it stands."""

    line: int
    text: str | None = None
    plain: bool = False  # written without quotes, and with no reference in it
    items: dict[str, Node] | None = None
    elements: list[Node] | None = None
    size: int = 1

    @property
    def kind(self) -> str:
        """What it is, in the words of an error message."""
        if self.items is not None:
            return "a mapping"
        if self.elements is not None:
            return "a list"
        return "nothing" if self.plain and self.text in {"", "~", "null"} else "a scalar"

    def sequence(self, file: str, what: str) -> list[Node]:
        """Return the elements of a list. Raise RuleError."""
        if self.elements is None:
            raise RuleError(
                f"`{what}` must be a list, found {self.kind}", file=file, line=self.line
            )
        return self.elements

    def mapping(self, file: str, what: str) -> dict[str, Node]:
        """Return the items of a mapping. Raise RuleError."""
        if self.items is None:
            raise RuleError(
                f"`{what}` must be a mapping, found {self.kind}", file=file, line=self.line
            )
        return self.items


class _Open(msgspec.Struct):
    """A collection that is being read."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_line: int = 0


def documents(data: bytes, file: str) -> Iterator[Node]:
    """Yield the documents of a YAML stream that are not empty. Raise RuleError with the line."""
    if len(data) > MAX_BYTES:
        raise RuleError(
            f"is {len(data)} bytes long, the limit is {MAX_BYTES}: split it", file=file
        )
    try:
        text = data.decode("utf-8")
        marked = _REFERENCE.sub("\ue000\\1\ue001", text)
        yield from _build(yaml.parse(marked, Loader=_Loader), file)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RuleError("is not UTF-8: save it as UTF-8", file=file, line=line) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        said = error.problem or error.context or "cannot be read"
        raise RuleError(
            f"not valid YAML: {said}; check the indentation and quotes there",
            file=file,
            line=line,
        ) from error
    except yaml.reader.ReaderError as error:
        line = next((n for n, row in enumerate(text.split("\n"), 1) if _CONTROL.search(row)), 0)
        raise RuleError(
            "not valid YAML: control characters are not allowed, remove them",
            file=file,
            line=line,
        ) from error


def _build(events: Iterator[Any], file: str) -> Iterator[Node]:
    stack: list[_Open] = []
    anchors: dict[str, Node] = {}
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            anchors = {}
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            if len(stack) >= _MAX_DEPTH:
                raise RuleError(f"nested deeper than {_MAX_DEPTH} levels", file=file, line=line)
            stack.append(_opened(event, file, line))
        elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            node = _finished(event, stack, anchors, file)
            if stack:
                _place(stack[-1], node, file, line)
            elif node.kind != "nothing":
                yield node


def _opened(event: Any, file: str, line: int) -> _Open:
    if event.tag is not None and event.tag not in _TAGS:
        raise _refused_tag(event, file, line)
    if isinstance(event, yaml.SequenceStartEvent):
        return _Open(Node(line, elements=[]), event.anchor)
    return _Open(Node(line, items={}), event.anchor)


def _finished(event: Any, stack: list[_Open], anchors: dict[str, Node], file: str) -> Node:
    """Return the node that an event completes: a scalar, an alias, or the open collection."""
    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            message = f"alias *{event.anchor} has no complete anchor before it"
            raise RuleError(message, file=file, line=line)
        return anchors[event.anchor]
    if isinstance(event, yaml.ScalarEvent):
        node = _scalar(event, file, line)
        anchor = event.anchor
    else:
        closed = stack.pop()
        node = _merged(closed.node, file)
        anchor = closed.anchor
    if anchor:
        anchors[anchor] = node
    return node


def _scalar(event: Any, file: str, line: int) -> Node:
    plain = not event.style
    if event.tag in _SCALAR_TAGS:
        plain = event.tag != "tag:yaml.org,2002:str"
    elif event.tag not in {None, "!"}:
        raise _refused_tag(event, file, line)
    text, found = _MARKED.subn(r"{{ \1 }}", event.value)
    return Node(line, text=text, plain=plain and not found)


def _merged(node: Node, file: str) -> Node:
    """Put what `<<` names below a mapping's own keys; of several mappings the first wins."""
    if node.items is None or "<<" not in node.items:
        return node
    given = node.items.pop("<<")
    for one in given.elements if given.elements is not None else [given]:
        node.items = {**one.mapping(file, "<<"), **node.items}
    return node


def _place(parent: _Open, node: Node, file: str, line: int) -> None:
    """Put a finished node into its parent: as key, as value or as element."""
    holder = parent.node
    holder.size += node.size
    if holder.size > _MAX_NODES:
        raise RuleError(f"more than {_MAX_NODES} nodes once expanded", file=file, line=line)
    if holder.elements is not None:
        holder.elements.append(node)
        return
    items = holder.items
    if items is None:  # pragma: no cover - a collection is one or the other
        return
    if parent.key is None:
        key = node.text
        if key is None:
            raise RuleError(
                "a key must be a word; quote the value if it starts with `{` or `[`",
                file=file,
                line=line,
            )
        if key in items:
            raise RuleError(
                f"key `{key}` is given twice (first in line {items[key].line})",
                file=file,
                line=line,
            )
        parent.key, parent.key_line = key, line
        return
    # Said where the key stands: that is where a person looks for a field.
    items[parent.key] = (
        node
        if node.line == parent.key_line
        else msgspec.structs.replace(node, line=parent.key_line)
    )
    parent.key = None


def _refused_tag(event: Any, file: str, line: int) -> RuleError:
    return RuleError(f"the YAML tag {event.tag} is not used here", file=file, line=line)


def references(text: str) -> list[re.Match[str]]:
    """Find every `{{ name }}` in a text."""
    return list(_REFERENCE.finditer(text))
