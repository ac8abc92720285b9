"""A rule's document into a Rule; whatever is not understood is refused where it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from openwatch.checks import registry
from openwatch.checks.types import Severity
from openwatch.rules import capabilities, decode, variables
from openwatch.rules.decode import Source, choice, known_keys, nearest, required, text, words
from openwatch.rules.document import Node
from openwatch.rules.mechanisms import MECHANISMS
from openwatch.rules.types import Check, Implementation, Platform, Rule, When

_KEYS = (
    *("id", "title", "description", "rationale", "severity", "category", "tags"),
    *("transactional", "references", "platforms", "implementations"),
    *("depends_on", "conflicts_with", "supersedes"),
)
_SERVICES = ("reload", "restart", "notify")
_NO_KEYS: frozenset[str] = frozenset()


def rule(node: Node, source: Source) -> Rule:
    """Return the rule that a document describes. Raise RuleError with the line."""
    items = node.mapping(source.file, "rule")
    known_keys(items, _KEYS, "a rule", source)

    def word(key: str) -> str:
        return _filled(required(items, key, "the rule", node, source), key, source)

    def several(key: str) -> tuple[str, ...]:
        return words(items[key], key, source) if key in items else ()

    identifier = word("id")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,99}", identifier):
        raise source.error(
            f"`id` must be lower-case words joined by dashes, found {identifier!r}", items["id"]
        )
    severity = choice(
        word("severity"), [s.value for s in Severity], "severity", items["severity"], source
    )
    transactional = items.get("transactional")
    return Rule(
        id=identifier,
        title=word("title"),
        description=word("description"),
        rationale=word("rationale"),
        severity=Severity(severity),
        category=word("category"),
        implementations=_implementations(
            required(items, "implementations", "the rule", node, source), source
        ),
        platforms=_platforms(items.get("platforms"), source),
        tags=several("tags"),
        references=_references(items.get("references"), source),
        depends_on=several("depends_on"),
        conflicts_with=several("conflicts_with"),
        supersedes=several("supersedes"),
        transactional=transactional is None
        or decode.boolean(transactional, "transactional", source),
        file=source.file,
        line=node.line,
    )


def _filled(node: Node, key: str, source: Source) -> str:
    found = text(node, key, source).strip()
    if not found:
        raise source.error(f"`{key}` is empty", node)
    return found


def platform(node: Node, source: Source) -> Platform:
    """Return one platform entry. Raise RuleError."""
    found: Platform = decode.structure(node, Platform, "a platform", source, _NO_KEYS)
    low, high = found.min_version, found.max_version
    if not found.family or low < 0 or high < 0 or (high and high < low):
        raise source.error("a platform needs a `family` and bounds in order", node)
    return msgspec.structs.replace(found, family=found.family.lower())


def _platforms(node: Node | None, source: Source) -> tuple[Platform, ...]:
    if node is None:
        return ()
    entries = node.sequence(source.file, "platforms")
    if not entries:
        raise source.error("`platforms` is empty: leave it out for every platform", node)
    return tuple(platform(entry, source) for entry in entries)


def _implementations(node: Node, source: Source) -> tuple[Implementation, ...]:
    entries = node.sequence(source.file, "implementations")
    if not entries:
        raise source.error("`implementations` is empty", node)
    found = tuple(_implementation(entry, source) for entry in entries)
    defaults = [entry for entry, one in zip(entries, found, strict=True) if one.default]
    if len(defaults) > 1:
        raise source.error("a second implementation is `default: true`", defaults[1])
    return found


def _implementation(node: Node, source: Source) -> Implementation:
    items = node.mapping(source.file, "an implementation")
    known_keys(items, ("when", "default", "check", "remediation"), "an implementation", source)
    default = "default" in items and decode.boolean(items["default"], "default", source)
    return Implementation(
        check=_check(required(items, "check", "the implementation", node, source), source),
        when=_when(items["when"], source) if "when" in items else None,
        default=default,
        remediation=_remediation(items["remediation"], source)
        if "remediation" in items
        else {},
    )


def _when(node: Node, source: Source) -> When:
    if node.items is None:
        name = text(node, "when", source)
        if name not in capabilities.NAMES:
            hint = nearest(name, capabilities.NAMES)
            raise source.error(f"unknown capability `{name}`{hint}", node)
        return When(capability=name)
    known_keys(node.items, ("all", "any", "not"), "`when`", source)
    if len(node.items) != 1:
        raise source.error("`when` takes one of `all`, `any`, `not`: nest them", node)
    key, value = next(iter(node.items.items()))
    if key == "not":
        return When(none=_when(value, source))
    inner = tuple(_when(entry, source) for entry in value.sequence(source.file, key))
    if not inner:
        raise source.error(f"`{key}` is empty", value)
    return When(all=inner) if key == "all" else When(any=inner)


def _check(node: Node, source: Source) -> Check:
    items = node.mapping(source.file, "check")
    if "checks" in items:
        known_keys(items, ("checks",), "a check with `checks`", source)
        children = items["checks"].sequence(source.file, "checks")
        if not children:
            raise source.error("`checks` is empty", node)
        return Check(children=tuple(_check(child, source) for child in children))
    name = text(required(items, "method", "the check", node, source), "method", source)
    method = registry.method(name)
    if method is None:
        hint = nearest(name, (*registry.METHODS, *registry.ALIASES))
        raise source.error(f"unknown check method `{name}`{hint}", items["method"])
    parameters = decode.structure(
        node, method.parameters, f"check method `{name}`", source, frozenset({"method"})
    )
    return Check(method=method.name, parameters=parameters)


def _remediation(node: Node, source: Source) -> Mapping[str, Any]:
    items = node.mapping(source.file, "remediation")
    plain = {key: item for key, item in items.items() if key not in _SERVICES}
    if "steps" in plain:
        known_keys(plain, ("steps",), "a remediation with `steps`", source)
        steps = plain["steps"].sequence(source.file, "steps")
        for step in steps:
            _mechanism(step.mapping(source.file, "a step"), step, source)
    else:
        _mechanism(plain, node, source)
    found: Mapping[str, Any] = _natural(node, "", source)
    return found


def _mechanism(items: Mapping[str, Node], node: Node, source: Source) -> None:
    name = text(required(items, "mechanism", "the remediation", node, source), "", source)
    if name not in MECHANISMS:
        hint = nearest(name, MECHANISMS)
        raise source.error(f"unknown mechanism `{name}`{hint}", items["mechanism"])
    needs, takes = MECHANISMS[name]
    known_keys(items, needs | takes | {"mechanism"}, f"mechanism `{name}`", source)
    for key in sorted(needs):
        required(items, key, f"mechanism `{name}`", node, source)


def _references(node: Node | None, source: Source) -> Mapping[str, Any]:
    if node is None:
        return {}
    for family, entry in node.mapping(source.file, "references").items():
        if not _natural(entry, "", source):
            raise source.error(f"reference `{family}` is empty: leave it out", entry)
        for os_token, inner in (entry.items or {}).items():
            if not _natural(inner, "", source):
                raise source.error(f"reference `{family}.{os_token}` is empty", inner)
    found: Mapping[str, Any] = _natural(node, "", source)
    return found


def _natural(  # noqa: PLR0911 - one line a form
    node: Node, key: str, source: Source
) -> Any:
    """Return plain data where no type is wanted: true/false, decimal integers, null, else text."""
    if node.items is not None:
        return {name: _natural(value, name, source) for name, value in node.items.items()}
    if node.elements is not None:
        return [_natural(value, key, source) for value in node.elements]
    written = node.text or ""
    if not node.plain:
        value = variables.exact(written, source.values, source.file, node.line)
        if key in {"run", "cmd"} or value is None:
            return text(node, key, source)
        return list(value) if isinstance(value, tuple) else value
    if node.kind == "nothing":
        return None
    if written.lower() in {"true", "false"}:
        return written.lower() == "true"
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", written):
        return int(written)
    return text(node, key, source)
