"""Hosts from an Ansible inventory in its INI form."""

from __future__ import annotations

import re
import shlex

from openwatch.fleet.inventories import LONGEST_LINE, Inventory
from openwatch.fleet.inventories_ansible import USED, Inventories, Variables

_SECTION = re.compile(r"\[(?P<name>[^\]:]+)(?::(?P<kind>[a-z]+))?\]\s*(?:[#;].*)?")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>.*)")


def read(text: str) -> Inventory:
    """Return the hosts of an inventory. Raise InvalidInput."""
    found = Inventories()
    group, kind = "ungrouped", ""
    found.group(group, 1)
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), 1):
        bare = line.strip()
        if not bare or bare.startswith(("#", ";")):
            continue
        if len(bare) > LONGEST_LINE:
            found.problem(number, f"the line has more than {LONGEST_LINE} characters")
        elif section := _SECTION.fullmatch(bare):
            group, kind = section["name"].strip(), section["kind"] or ""
            if kind in ("", "vars", "children"):
                found.group(group, number)
            else:
                found.problem(number, "the section is none of hosts, vars and children")
        elif kind == "vars":
            _variable(found, group, number, bare)
        elif kind == "children":
            found.group(re.split(r"\s*[#;]", bare)[0].strip(), number, parent=group)
        elif kind:
            found.problem(number, "it stands in a section that cannot be read")
        else:
            _host(found, group, number, bare)
    return found.inventory()


def _variable(found: Inventories, group: str, line: int, bare: str) -> None:
    assignment = _ASSIGNMENT.fullmatch(bare)
    if assignment is None:
        found.problem(line, "it is no variable and its value")
    elif assignment["name"] in USED:
        found.variables(group, {assignment["name"]: _unquoted(assignment["value"])})


def _unquoted(value: str) -> str:
    value = re.sub(r"\s+#.*", "", value) if not value.startswith(('"', "'")) else value
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value.strip()


def _host(found: Inventories, group: str, line: int, bare: str) -> None:
    try:
        pattern, *words = shlex.split(bare, comments=True)
    except ValueError:
        found.problem(line, "a quotation mark is opened and never closed")
        return
    values: Variables = {}
    for word in words:
        assignment = _ASSIGNMENT.fullmatch(word)
        if assignment is None:
            found.problem(
                line, "something behind its name is no variable and its value", pattern
            )
            return
        if assignment["name"] in USED:
            values[assignment["name"]] = assignment["value"]
    found.host(group, pattern, line, values)
