"""docs/rules.md lists every check method as the registry has it.

Where they differ, `OPENWATCH_UPDATE=1 .venv/bin/pytest tests/checks/test_reference.py` writes the
list anew.
"""

from __future__ import annotations

import enum
import inspect
import os
import sys
import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from openwatch.checks.registry import ALIASES, METHODS
from openwatch.checks.types import Method

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules.md"
BEGIN, END = "<!-- methods: begin -->\n", "<!-- methods: end -->\n"


def type_name(wanted: Any) -> str:
    if typing.get_origin(wanted) in {types.UnionType, typing.Union}:
        return type_name(next(a for a in typing.get_args(wanted) if a is not type(None)))
    if typing.get_origin(wanted) is tuple:
        return "list"
    if typing.get_origin(wanted) is typing.Literal:
        return " ".join(f"`{word}`" for word in typing.get_args(wanted))
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return " ".join(f"`{member.value}`" for member in wanted)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return "mapping: " + "; ".join(rows(wanted))
    return {str: "text", bool: "true or false", int: "number"}[wanted]


def rows(struct: type[msgspec.Struct]) -> list[str]:
    hints = typing.get_type_hints(struct)
    found = []
    for field in msgspec.structs.fields(struct):
        default = field.default
        if field.required:
            end = ", **required**"
        elif default in (None, (), False) or isinstance(default, msgspec.Struct):
            end = ""
        else:
            end = f", default `{str(default).lower() if default is True else default}`"
        kind = type_name(hints[field.name])
        found.append(f"`{field.encode_name}` ({kind}{end})")
    return found


def summary(method: Method) -> str:
    text = (sys.modules[method.judge.__module__].__doc__ or "").split("\n")[0]
    return text.partition(": ")[2]


def notes(method: Method) -> str:
    return " ".join((inspect.getdoc(method.parameters) or "").split())


def generated() -> str:
    lines = ["| method | says | parameters |", "|---|---|---|"]
    for name, method in sorted(METHODS.items()):
        other = [alias for alias, of in ALIASES.items() if of == name]
        called = f"`{name}`" + "".join(f" or `{alias}`" for alias in other)
        cells = (called, summary(method), "<br>".join(rows(method.parameters)))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", "What the parameters mean:", ""]
    lines += [f"- `{name}`: {notes(method)}" for name, method in sorted(METHODS.items())]
    return "\n".join(lines) + "\n"


def test_the_list_of_methods_is_the_registrys() -> None:
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    if os.environ.get("OPENWATCH_UPDATE"):
        DOCUMENT.write_text(before + BEGIN + generated() + END + after)
        return
    assert old == generated()


def test_every_method_of_the_language_is_there() -> None:
    language = {
        *("apparmor_state", "audit_rule_exists", "command", "config_value", "dpkg_absent"),
        *("dpkg_installed", "file_absent", "file_content", "file_content_match", "file_exists"),
        *("file_permission", "file_permissions", "grub_parameter", "kernel_module_state"),
        *("mount_option", "package_absent", "package_installed", "package_state"),
        *("selinux_state", "service_active", "service_enabled", "service_state"),
        *("set_compare", "sshd_effective_config", "sysctl_value", "systemd_target"),
    }
    assert len(language) == 26
    assert language <= {*METHODS, *ALIASES}


def test_every_method_says_what_it_is() -> None:
    for method in METHODS.values():
        assert summary(method), method.name
        assert notes(method), method.name
