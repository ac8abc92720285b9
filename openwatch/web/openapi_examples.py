"""Examples for the API's document, made from its schemas: they cannot differ from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ID = "0199a3c2-7d1e-7b52-9c44-5f0a8e6d2b10"
_INSTANT = "2026-03-14T09:26:53.589793Z"
_BY_FORMAT = {
    "uuid": _ID,
    "date-time": _INSTANT,
    "date": "2026-03-14",
    "byte": "b3BlbndhdGNo",
}
_BY_NAME: Mapping[str, Any] = {
    "access_token": "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl",
    "action": "host.created",
    "actor_label": "admin",
    "actor_type": "user",
    "architecture": "x86_64",
    "category": "kernel",
    "code": "hosts.not_found",
    "correlation_id": "req-019cebf2d5e50001",
    "current_password": "what it was until now",
    "display_name": "Web server 1",
    "email": "ada@example.org",
    "environment": "production",
    "expected": "0",
    "fault": "client",
    "fingerprint": "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
    "framework": "cis_debian12",
    "framework_id": "cis_debian12",
    "full_name": "Ada Lovelace",
    "hostname": "web-1",
    "human_message": "There is no such host.",
    "ip_address": "192.0.2.10",
    "message": "Hello.",
    "name": "scanner",
    "new_password": "seven quiet lamps by the river",
    "openwatch": "0.8.0",
    "os_family": "debian",
    "os_version": "12",
    "otp": "123456",
    "password": "seven quiet lamps by the river",
    "platform_identifier": "debian12",
    "refresh_token": "mJ0Yc1b4m0E3v8cQ4f8m6T2xZ1r5u7w9y0A2C4E6G8I",
    "resource_type": "host",
    "role": "viewer",
    "role_id": "viewer",
    "rule_id": "kernel-address-randomisation",
    "timezone": "Europe/London",
    "title": "Addresses are randomised",
    "username": "ada",
    "version": "0.8.0",
    "port": 22,
    "score_pct": 91.5,
    "passing_fraction": 0.915,
}
_DEEPEST = 6


class Examples:
    """Makes values of the document's schemas."""

    def __init__(self, components: Mapping[str, Any]) -> None:
        """Take the schemas that references name."""
        self._components = components

    def of(self, schema: Mapping[str, Any], name: str = "", *, is_request: bool = False) -> Any:
        """Return a value that fits; of a request only what has to be sent, or its first field."""
        return self._value(schema, name, is_request, 0)

    def _value(self, schema: Mapping[str, Any], name: str, is_request: bool, depth: int) -> Any:
        if "$ref" in schema:
            found = self._components[schema["$ref"].rpartition("/")[2]]
            return self._value(found, name, is_request, depth)
        for key in ("examples", "enum"):
            if schema.get(key):
                return schema[key][0]
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._value(_likely(schema[key]), name, is_request, depth)
        if "properties" in schema or schema.get("type") == "object":
            return self._object(schema, is_request, depth)
        if schema.get("type") == "array":
            return self._array(schema, name, is_request, depth)
        return schema["const"] if "const" in schema else _scalar(schema, name)

    def _object(self, schema: Mapping[str, Any], is_request: bool, depth: int) -> Any:
        fields = schema.get("properties", {})
        if not fields:
            more = schema.get("additionalProperties")
            if not isinstance(more, Mapping) or depth >= _DEEPEST:
                return {}
            return {"name": self._value(more, "", is_request, depth + 1)}
        wanted = list(schema.get("required", ())) if is_request else list(fields)
        wanted = wanted or list(fields)[:1]
        return {
            field: self._value(fields[field], field, is_request, depth + 1) for field in wanted
        }

    def _array(
        self, schema: Mapping[str, Any], name: str, is_request: bool, depth: int
    ) -> list[Any]:
        if "prefixItems" in schema:
            return [
                self._value(one, name, is_request, depth + 1) for one in schema["prefixItems"]
            ]
        items = schema.get("items")
        is_deep = depth >= _DEEPEST and not schema.get("minItems")
        if not isinstance(items, Mapping) or is_deep or name == "jump_hosts":
            return []
        return [self._value(items, name.removesuffix("s"), is_request, depth + 1)]


def _likely(choices: list[dict[str, Any]]) -> dict[str, Any]:
    return next((one for one in choices if one.get("type") != "null"), choices[0])


def _scalar(schema: Mapping[str, Any], name: str) -> Any:
    kind = schema.get("type")
    named = _BY_NAME.get(name)
    if kind == "string":
        if schema.get("format") in _BY_FORMAT:
            return _BY_FORMAT[schema["format"]]
        text = named if isinstance(named, str) else name.replace("_", " ") or "text"
        text = text.ljust(schema.get("minLength", 0), "x")
        return text[: schema.get("maxLength", len(text))]
    if kind == "integer":
        low, high = schema.get("minimum", 0), schema.get("maximum", 1 << 31)
        return min(max(named if isinstance(named, int) else 1, low), high)
    if kind == "number":
        return named if isinstance(named, float) else schema.get("minimum", 0.5)
    if kind == "boolean":
        return True
    return None if kind == "null" else {}
