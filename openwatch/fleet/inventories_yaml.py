"""Hosts from an Ansible inventory in its YAML form, read within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from openwatch.fleet.inventories import DEEPEST, Inventory, unreadable
from openwatch.fleet.inventories_ansible import USED, Inventories, Value, Variables

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 3 * DEEPEST  # levels of YAML: a group within a group is two
_MOST = 500_000  # nodes, those that an alias stands for counted each time
_NULL = "tag:yaml.org,2002:null"
_TEXT = "tag:yaml.org,2002:str"


def read(text: str) -> Inventory:
    """Return the hosts of an inventory. Raise InvalidInput."""
    try:
        _require_bounded(text)
        # Composed, not loaded: nodes know their lines, and a value stays as it was written.
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise unreadable("It is not valid YAML.", mark.line + 1 if mark else 0) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise unreadable("It is not valid YAML.") from None
    walk = _Walk()
    try:
        for line, name, node in walk.items(root, "the inventory") if root else ():
            walk.group(line, name, node, None, 0)
    except _OddError as error:
        raise unreadable(f"{error}.", error.line) from None
    except RecursionError:
        raise unreadable("Something in it is within itself.") from None
    return walk.found.inventory()


def _require_bounded(text: str) -> None:
    """Raise InvalidInput where the file is nested deeper, or is more, than an inventory can be."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise unreadable(f"It is nested more than {_DEEPEST} levels deep.")
        if count > 2 * _MOST:
            raise unreadable(f"It has more than {_MOST} values; import it in several parts.")


class _OddError(Exception):
    """Something is of another kind than it must be."""

    def __init__(self, message: str, node: yaml.Node) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1


class _Walk:
    """A walk over the nodes that visits no more of them than an inventory has."""

    def __init__(self) -> None:
        self.found = Inventories()
        self._left = _MOST

    def items(self, node: yaml.Node, what: str) -> Iterator[tuple[int, str, yaml.Node]]:
        """Yield line, name and value of a mapping, what it merges in (`<<`) first."""
        if _is_nothing(node):
            return
        if not isinstance(node, yaml.MappingNode):
            raise _OddError(f"{what} must be a mapping", node)
        for key, value in node.value:
            if key.value == "<<" and key.tag != _TEXT:
                many = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for one in many:
                    self._count(one)
                    yield from self.items(one, "what << merges in")
        for key, value in node.value:
            self._count(value)
            if not isinstance(key, yaml.ScalarNode):
                raise _OddError("a name must be a text", key)
            if key.value != "<<" or key.tag == _TEXT:
                yield key.start_mark.line + 1, key.value, value

    def group(
        self, line: int, name: str, node: yaml.Node, parent: str | None, depth: int
    ) -> None:
        """Gather a group: its hosts, its variables, and the groups in it."""
        if depth > DEEPEST:
            raise unreadable(f"Groups are nested more than {DEEPEST} deep.", line)
        self.found.group(name, line, parent)
        for place, part, value in self.items(node, "a group"):
            if part == "hosts":
                for at, host, variables in self.items(value, "hosts"):
                    self._host(name, at, host, variables)
            elif part == "vars":
                self.found.variables(name, self._variables(value, "vars"))
            elif part == "children":
                for at, child, below in self.items(value, "children"):
                    self.group(at, child, below, name, depth + 1)
            else:
                self.found.problem(place, "a group has hosts, vars and children, nothing else")

    def _host(self, group: str, line: int, name: str, node: yaml.Node) -> None:
        try:
            values = self._variables(node, "the variables of a host")
        except _OddError as error:
            self.found.problem(line, str(error), name)
        else:
            self.found.host(group, name, line, values)

    def _variables(self, node: yaml.Node, what: str) -> Variables:
        return {
            name: self._value(name, value)
            for _, name, value in self.items(node, what)
            if name in USED
        }

    def _value(self, name: str, node: yaml.Node) -> Value:
        if _is_nothing(node):
            return ""
        if isinstance(node, yaml.ScalarNode) and not node.tag.startswith("!"):
            return str(node.value)
        if isinstance(node, yaml.SequenceNode):
            for one in node.value:
                self._count(one)
            if all(isinstance(one, yaml.ScalarNode) for one in node.value):
                return tuple(str(one.value) for one in node.value)
        raise _OddError(f"{name} must be a plain value", node)

    def _count(self, node: yaml.Node) -> None:
        self._left -= 1
        if self._left <= 0:
            line = node.start_mark.line + 1
            raise unreadable(f"Its aliases stand for more than {_MOST} values.", line)


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL
