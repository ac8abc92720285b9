"""`openwatch rules show`: one rule as it was loaded, with the values that are in effect."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from openwatch.cli import DONE, Arguments, corpus
from openwatch.cli.outcome import printable
from openwatch.cli.rules import known
from openwatch.rules.platforms import described
from openwatch.rules.types import Check, Corpus, Rule
from openwatch.scans import explain

_RELATIONS = ("depends_on", "conflicts_with", "supersedes")


def run(arguments: Arguments) -> int:
    """Print a rule: what it asks, where it applies, which controls it serves."""
    rules = corpus.loaded(arguments)
    rule = known(rules, arguments["ID"])
    if arguments["--json"]:
        print(json.dumps(document(rules, rule), indent=2, ensure_ascii=True))
    else:
        for line in _lines(rules, rule):
            print(printable(line))
    return DONE


def document(rules: Corpus, rule: Rule) -> Mapping[str, Any]:
    """Return everything about a rule as plain data."""
    return {
        "id": rule.id,
        "title": rule.title,
        "description": rule.description,
        "rationale": rule.rationale,
        "severity": rule.severity.value,
        "category": rule.category,
        "tags": list(rule.tags),
        "platforms": msgspec.to_builtins(rule.platforms),
        "file": rule.file,
        "line": rule.line,
        **{key: list(getattr(rule, key)) for key in _RELATIONS},
        "variables": _variables(rules, rule),
        "implementations": [
            {
                "when": explain.described(one.when, default=one.default),
                "default": one.default,
                "check": checks(one.check),
                "remediation": msgspec.to_builtins(one.remediation),
            }
            for one in rule.implementations
        ],
        "controls": _controls(rules, rule.id),
        "variants": {
            name: msgspec.to_builtins(rules.parameters[name])
            for name in rules.variants.get(rule.id, {})
        },
    }


def checks(check: Check) -> list[Mapping[str, Any]]:
    """Return the checks of a tree, all of which must hold, as plain data."""
    if check.children:
        return [one for child in check.children for one in checks(child)]
    parameters = msgspec.to_builtins(check.parameters)
    return [{"method": check.method, **{k: v for k, v in parameters.items() if v is not None}}]


def told(check: Check) -> Iterator[str]:
    """Yield the lines that describe a check for people; what is not said is left out."""
    for child in check.children:
        yield from told(child)
    if check.children:
        return
    yield check.method
    for field in msgspec.structs.fields(type(check.parameters)):
        value = getattr(check.parameters, field.name)
        if field.required or value != field.default:
            plain = msgspec.to_builtins(value)
            text = plain if isinstance(plain, str) else json.dumps(plain)
            first, *rest = text.rstrip("\n").split("\n")
            yield f"  {field.encode_name}: {first}"
            yield from (f"    {line}" for line in rest)


def _lines(rules: Corpus, rule: Rule) -> Iterator[str]:
    yield f"{rule.id}: {rule.title}"
    yield f"  {rule.severity.value}, {rule.category}, {rule.file}:{rule.line}"
    yield f"  for {described(rule.platforms) or 'every system'}"
    yield f"  {' '.join(rule.description.split())}"
    yield f"  {' '.join(rule.rationale.split())}"
    for key in _RELATIONS:
        if names := getattr(rule, key):
            yield f"  {key}: {', '.join(names)}"
    for name, value in _variables(rules, rule).items():
        yield f"  variable {name} = {value}"
    for one in rule.implementations:
        yield f"when {explain.described(one.when, default=one.default)}:"
        yield from (f"  {line}" for line in told(one.check))
    for framework, controls in _controls(rules, rule.id).items():
        for control in controls:
            under = f" under {control['parameters']}" if control["parameters"] else ""
            yield f"{framework} {control['id']}{under}"


def _variables(rules: Corpus, rule: Rule) -> Mapping[str, Any]:
    template = rules.templates.get(rule.id)
    names = sorted(template.names) if template else []
    return {name: msgspec.to_builtins(rules.variables[name]) for name in names}


def _controls(rules: Corpus, name: str) -> Mapping[str, list[Mapping[str, str]]]:
    found: dict[str, list[Mapping[str, str]]] = {}
    for framework in rules.frameworks.values():
        for control in framework.controls:
            if name in control.rules:
                found.setdefault(framework.id, []).append(
                    {
                        "id": control.id,
                        "level": control.level,
                        "parameters": control.variants.get(name, ""),
                    }
                )
    return found
