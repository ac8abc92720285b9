"""Frameworks: their documents, the references inside rules, and who belongs to which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from openwatch.checks.types import Facts
from openwatch.rules import decode, tiers, variables
from openwatch.rules.decode import Source, known_keys, required, text, words
from openwatch.rules.document import Node
from openwatch.rules.platforms import matches
from openwatch.rules.types import Control, Corpus, Framework, Platform, Rule

_KEYS = ("id", "family", "title", "version", "platform", "controls")
_CONTROL_KEYS = ("id", "title", "level", "rules", "params", "automated", "reason")
_TITLES = {
    "cis": "CIS",
    "stig": "STIG",
    "nist_800_53": "NIST 800-53",
    "nist_800_171": "NIST SP 800-171 Rev 2",
    "nist_800_171_r3": "NIST SP 800-171 Rev 3",
    "pci_dss_4": "PCI DSS 4.0",
    "srg": "SRG",
    "iso27001_2022": "ISO 27001:2022",
    "cmmc_l2": "CMMC Level 2",
    "hipaa": "HIPAA",
}


def framework(node: Node, source: Source) -> Framework:
    """Return the framework that a document describes. Raise RuleError with the line."""
    items = node.mapping(source.file, "framework")
    known_keys(items, _KEYS, "a framework", source)

    def word(key: str) -> str:
        found = text(required(items, key, "the framework", node, source), key, source).strip()
        if not found:
            raise source.error(f"`{key}` is empty", items[key])
        return found

    identifier, family = word("id"), word("family")
    for key, value in (("id", identifier), ("family", family)):
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", value) or value == "all":
            raise source.error(f"`{key}` must be lower-case words joined by `_`", items[key])
    controls: dict[str, Control] = {}
    for entry in (
        items["controls"].sequence(source.file, "controls") if "controls" in items else ()
    ):
        control = _control(entry, source)
        if control.id in controls:
            raise source.error(f"control {control.id} is listed twice", entry)
        controls[control.id] = control
    if not controls:
        raise source.error("the framework has no `controls`", node)
    return Framework(
        id=identifier,
        family=family,
        title=word("title"),
        version=word("version"),
        platform=_platform(items["platform"], source) if "platform" in items else None,
        controls=tuple(controls.values()),
    )


class _PlatformKeys(msgspec.Struct, frozen=True):
    family: str
    version: int


def _platform(node: Node, source: Source) -> Platform:
    found: _PlatformKeys = decode.structure(
        node, _PlatformKeys, "the platform", source, frozenset()
    )
    return Platform(found.family.lower(), found.version, found.version)


def _control(node: Node, source: Source) -> Control:
    items = node.mapping(source.file, "a control")
    known_keys(items, _CONTROL_KEYS, "a control", source)

    def word(key: str) -> str:
        return text(items[key], key, source).strip() if key in items else ""

    required(items, "id", "the control", node, source)
    automated = items.get("automated")
    return Control(
        id=word("id"),
        rules=words(items["rules"], "rules", source) if "rules" in items else (),
        level=word("level"),
        title=word("title"),
        automated=automated is None or decode.boolean(automated, "automated", source),
        reason=word("reason"),
        params=_params(items["params"], source) if "params" in items else {},
    )


def _params(node: Node, source: Source) -> Mapping[str, variables.Value]:
    found = {}
    for name, entry in node.mapping(source.file, "params").items():
        variables.look_up(name, source.values, source.file, entry.line)
        found[name] = tiers.value(name, entry, source.values, source.file)
    return found


def completed(loaded: Iterable[Framework], rules: Mapping[str, Rule]) -> dict[str, Framework]:
    """Return the frameworks with the references inside rules added, unknown rules left out."""
    frameworks = {one.id: one for one in loaded}
    controls = {
        one.id: {
            c.id: msgspec.structs.replace(c, rules=tuple(r for r in c.rules if r in rules))
            for c in one.controls
        }
        for one in frameworks.values()
    }
    for rule in sorted(rules.values(), key=lambda one: one.id):
        for implied, control in _cited(rule):
            frameworks.setdefault(implied.id, implied)
            held = controls.setdefault(implied.id, {})
            before = held.get(control.id, control)
            if rule.id not in before.rules:
                before = msgspec.structs.replace(before, rules=(*before.rules, rule.id))
            held[control.id] = before
    return {
        name: msgspec.structs.replace(one, controls=tuple(controls[name].values()))
        for name, one in sorted(frameworks.items())
    }


def _cited(rule: Rule) -> Iterator[tuple[Framework, Control]]:
    """Yield each (framework, control) that a rule's own references name."""
    for family, entry in rule.references.items():
        title = _TITLES.get(family, family)
        if not isinstance(entry, Mapping):
            flat = Framework(family, family, title, "", None, ())
            for control in entry if isinstance(entry, list) else [entry]:
                yield flat, Control(str(control), (rule.id,))
            continue
        for token, objects in entry.items():
            found = re.fullmatch(r"([a-z]+)([0-9]+)", token)
            where = Platform(found[1], int(found[2]), int(found[2])) if found else None
            held = Framework(f"{family}_{token}", family, f"{title} {token}", "", where, ())
            for one in objects if isinstance(objects, list) else [objects]:
                name = _control_name(one)
                if name:
                    level = str(one.get("level", "")) if isinstance(one, Mapping) else ""
                    yield held, Control(name, (rule.id,), level=level)


def _control_name(reference: Any) -> str:
    if not isinstance(reference, Mapping):
        return str(reference) if reference else ""
    for key in ("section", "vuln_id", "stig_id", "control", "id"):
        if reference.get(key):
            return str(reference[key])
    # Of an unknown family: the first text in the order of its keys, so that it is always the same.
    texts = [v for _, v in sorted(reference.items()) if isinstance(v, str)]
    return texts[0] if texts else ""


Member = tuple[str, str]  # a rule, and the variant of it that counts ("": its own parameters)


def label(family: str) -> str:
    """Return how people call a family."""
    return _TITLES.get(family, family.upper())


def members(
    corpus: Corpus, facts: Facts
) -> tuple[tuple[Framework, Mapping[Member, tuple[str, ...]]], ...]:
    """Return the frameworks that are for a host, each with the controls that its rules serve."""
    found = []
    for one in fitting(corpus, facts):
        serves: dict[Member, tuple[str, ...]] = {}
        for control in one.controls:
            for rule in control.rules:
                key = (rule, control.variants.get(rule, ""))
                serves[key] = (*serves.get(key, ()), control.id)
        found.append((one, serves))
    return tuple(found)


def fitting(corpus: Corpus, facts: Facts) -> Iterator[Framework]:
    """Yield the frameworks that are for a host."""
    for one in corpus.frameworks.values():
        if one.platform is None or (facts.family and matches(one.platform, facts)):
            yield one


def variants(corpus: Corpus, facts: Facts) -> Mapping[str, frozenset[str]]:
    """Return the variants by rule that the frameworks of a host count beside a rule's own."""
    found: dict[str, set[str]] = {}
    for one in fitting(corpus, facts):
        for control in one.controls:
            for rule, name in control.variants.items():
                found.setdefault(rule, set()).add(name)
    return {rule: frozenset(names) for rule, names in found.items()}
