"""The schemas of what operations take and return, as JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        self._found = list(zip(kinds, found, strict=True))
        self.components: dict[str, Any] = {
            name: components[name] for name in sorted(components)
        }
        for struct in _structs(inspect.multi_type_info(kinds)):
            self._say_instants(struct)

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type; a Struct's is a reference."""
        return next(dict(schema) for known, schema in self._found if known == kind)

    def _say_instants(self, struct: inspect.StructType) -> None:
        """Say that an instant is one: msgspec does so only where it has to have a zone."""
        properties = self.components[struct.cls.__name__].get("properties", {})
        for field in struct.fields:
            choices = (
                field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
            )
            if any(isinstance(one, inspect.DateTimeType) for one in choices):
                schema = properties[field.encode_name]
                for one in schema.get("anyOf", [schema]):
                    if one.get("type") == "string":
                        one["format"] = "date-time"


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
