"""The corpus as one document: what a verdict rests on beside the host's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from openwatch.rules.types import Rule

_FORMAT = 1  # raised when the same corpus is judged in another way


def document(
    rules: Mapping[str, Rule],
    variants: Mapping[str, Mapping[str, Rule]],
    values: Mapping[str, Any],
) -> bytes:
    """Return everything that can change a verdict, in one form.

    `values` are the variables that some rule uses; they stand in the rules, too, in place of the
    references, and are told apart so that a reader sees which parameters a verdict rests on.
    """
    body = [
        {
            "id": rule.id,
            "severity": rule.severity,
            "platforms": rule.platforms,
            "implementations": _implementations(rule),
            "depends_on": rule.depends_on,
            "supersedes": rule.supersedes,
        }
        for _, rule in sorted(rules.items())
    ]
    others = [
        {"id": rule.id, "variant": name, "implementations": _implementations(rule)}
        for _, named in sorted(variants.items())
        for name, rule in sorted(named.items())
    ]
    whole = {"format": _FORMAT, "rules": body, "variables": values, "variants": others}
    return msgspec.json.encode(whole, order="deterministic")


def _implementations(rule: Rule) -> list[Mapping[str, Any]]:
    return [
        {"when": one.when, "default": one.default, "check": one.check}
        for one in rule.implementations
    ]
