"""The schemas of what operations take and return, as JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from openwatch.web.operations import Operation
from openwatch.web.problems import ErrorEnvelope

_REFERENCE = "#/components/schemas/{name}"


class Schemas:
    """The schema of each type, computed together so that names are shared."""

    def __init__(self, rows: Sequence[Operation]) -> None:
        """Look at everything that rows take and return."""
        kinds: list[Any] = [ErrorEnvelope]
        for row in rows:
            kinds += [kind for kind in (row.returns, row.body) if kind is not None]
            if row.query is not None:
                kinds += [field.type for field in msgspec.structs.fields(row.query)]
        found, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
        named = {_REFERENCE.format(name=name): _named(name) for name in components}
        self._found = list(zip(kinds, (_renamed(one, named) for one in found), strict=True))
        self.components: dict[str, Any] = {
            _named(name): _renamed(components[name], named) | _title(name)
            for name in sorted(components)
        }
        for struct in _structs(inspect.multi_type_info(kinds)):
            self._say_instants(struct)

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type; a Struct's is a reference."""
        return next(dict(schema) for known, schema in self._found if known == kind)

    def _say_instants(self, struct: inspect.StructType) -> None:
        """Say that an instant is one: msgspec does so only where it has to have a zone."""
        plain = struct.cls.__name__
        whole = _named(f"{struct.cls.__module__}.{plain}")
        properties = self.components.get(whole, self.components.get(plain, {})).get(
            "properties"
        )
        for field in struct.fields if properties else ():
            choices = (
                field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
            )
            if any(isinstance(one, inspect.DateTimeType) for one in choices):
                schema = properties[field.encode_name]
                for one in schema.get("anyOf", [schema]):
                    if one.get("type") == "string":
                        one["format"] = "date-time"


def _named(name: str) -> str:
    """Return a component's name: of two types of one name, each is called by its module, too."""
    *_, module, plain = ("", *name.split("."))
    return module.title().replace("_", "") + plain


def _title(name: str) -> dict[str, str]:
    return {"title": _named(name)} if "." in name else {}


def _renamed(schema: Any, named: Mapping[str, str]) -> Any:
    """Return a schema whose references use those names."""
    if isinstance(schema, dict):
        return {
            key: _REFERENCE.format(name=named[value])
            if key == "$ref"
            else _renamed(value, named)
            for key, value in schema.items()
        }
    return [_renamed(one, named) for one in schema] if isinstance(schema, list) else schema


def _structs(kinds: Sequence[Any]) -> Iterator[inspect.StructType]:
    """Yield every Struct that types contain, each once."""
    seen: set[type] = set()
    left = list(kinds)
    while left:
        kind = left.pop()
        if isinstance(kind, inspect.StructType):
            if kind.cls in seen:
                continue
            seen.add(kind.cls)
            yield kind
            left += [field.type for field in kind.fields]
        elif isinstance(kind, inspect.UnionType):
            left += kind.types
        else:
            for name in ("item_type", "item_types", "key_type", "value_type", "type"):
                inner = getattr(kind, name, None)
                left += inner if isinstance(inner, tuple) else [inner] if inner else []
