"""One rule under several values: those of a benchmark, of a group, of a host.

A rule with variables in it is kept as it was written, and read again for other values, without
its file being opened again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from openwatch.errors import RuleError
from openwatch.rules import canonical, parse
from openwatch.rules.decode import Source
from openwatch.rules.document import Node, references
from openwatch.rules.types import (
    Control,
    Corpus,
    Framework,
    Problem,
    Rule,
    Template,
    Tiers,
)
from openwatch.rules.variables import Value, as_text

_LONGEST_VALUE = 64


def template(node: Node, file: str) -> Template | None:
    """Return a rule as it was written, None where no variable stands in it."""
    names = frozenset(names_in(node))
    if not names:
        return None
    checks, gates = _judged(node, "check"), _judged(node, "when")
    return Template(node, file, names, checks | gates, gates)


def _judged(node: Node, key: str) -> frozenset[str]:
    """Return the variables that stand under a key of a rule's implementations."""
    written = (node.items or {}).get("implementations")
    implementations = [one.items or {} for one in (written.elements if written else None) or ()]
    return frozenset(
        name for items in implementations if key in items for name in names_in(items[key])
    )


def names_in(node: Node) -> Iterator[str]:
    """Yield the variables that a document refers to."""
    if node.text is not None:
        for match in references(node.text):
            yield match.group(1)
    for inner in (*(node.items or {}).values(), *(node.elements or ())):
        yield from names_in(inner)


def name(parameters: Mapping[str, Value]) -> str:
    """Return the name of a variant: `pam_pwquality_minlen=14`, one word a parameter."""
    words = []
    for key, value in sorted(parameters.items()):
        text = as_text(value)
        if len(text) > _LONGEST_VALUE or not text.isprintable() or set(text) & set(" \"'"):
            text = "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16]
        words.append(f"{key}={text}")
    return " ".join(words)


class Finder:
    """Finds the variants that controls ask for among rules that are read already.

    What the command line gives wins over a benchmark's own values. A rule that cannot be read
    with a control's parameters, or that one framework asks under two sets of them, is a problem
    and is left out of that control: it is never judged by numbers that are not the control's.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        templates: Mapping[str, Template],
        values: Mapping[str, Value],
        tiers: Tiers,
    ) -> None:
        """Take the rules, the variables in effect, and who says what of them."""
        self._read = rules
        self._templates = templates
        self._values = values
        self._given = tiers.given
        some = (*tiers.groups.values(), *tiers.hosts.values())
        self._varied = {name for said in some for name in said} - tiers.given.keys()
        self.rules: dict[str, dict[str, Rule]] = {}  # by rule, then by the variant's name
        self.parameters: dict[str, Mapping[str, Value]] = {}  # by the variant's name
        self.problems: list[Problem] = []

    def framework(self, framework: Framework, file: str, line: int) -> Framework:
        """Return a framework with the variants of its controls."""
        if not any(control.params for control in framework.controls):
            return framework
        asked: dict[str, str] = {}
        controls = []
        for control in framework.controls:
            names: dict[str, str] = {}
            for rule in control.rules:
                own = self._own(control, rule)
                why = self._refusal(rule, own, asked)
                if why:
                    message = f"`{framework.id}`: control {control.id}, `{rule}`: {why}"
                    self.problems.append(Problem(file, line, message))
                else:
                    names[rule] = name(own)
            controls.append(
                msgspec.structs.replace(
                    control,
                    rules=tuple(names),
                    variants={rule: variant for rule, variant in names.items() if variant},
                )
            )
            for key in self._unused(control):
                message = f"control {control.id} sets `{key}`, which none of its rules uses"
                self.problems.append(Problem(file, line, f"`{framework.id}`: {message}"))
        return msgspec.structs.replace(framework, controls=tuple(controls))

    def _own(self, control: Control, rule: str) -> Mapping[str, Value]:
        """Return a control's parameters as far as a rule's verdict rests on them.

        None where every host has these values anyway: then the rule itself is counted.
        """
        if rule not in self._templates:
            return {}
        judged = self._templates[rule].judged
        own = {k: self._given.get(k, v) for k, v in control.params.items() if k in judged}
        is_everywhere = all(
            self._values[k] == v and k not in self._varied for k, v in own.items()
        )
        return {} if is_everywhere else own

    def _refusal(self, rule: str, own: Mapping[str, Value], asked: dict[str, str]) -> str:
        """Read a rule's variant; return why it cannot be had, "" where it can."""
        variant = name(own)
        if asked.setdefault(rule, variant) != variant:
            return "another control of this framework asks it with other parameters"
        if variant and variant not in self.rules.get(rule, {}):
            try:
                one = read(self._read[rule], self._templates[rule], {**self._values, **own})
            except RuleError as error:
                return error.bare
            self.rules.setdefault(rule, {})[variant] = one
            self.parameters[variant] = own
        return ""

    def _unused(self, control: Control) -> list[str]:
        there = [self._templates[rule] for rule in control.rules if rule in self._templates]
        return sorted(set(control.params).difference(*(one.judged for one in there)))


def read(rule: Rule, written: Template, values: Mapping[str, Value]) -> Rule:
    """Return a rule under other values. What it is for and depends on stays. Raise RuleError."""
    other = parse.rule(written.node, Source(written.file, values))
    return msgspec.structs.replace(
        rule,
        title=other.title,
        description=other.description,
        rationale=other.rationale,
        implementations=other.implementations,
    )


def resolved(corpus: Corpus, overrides: Mapping[str, Value]) -> Corpus:
    """Return the corpus under other values of some variables. Raise RuleError.

    Only rules in which one of them stands are read again; the same corpus where there is none.
    """
    changed = {k for k, v in overrides.items() if corpus.variables.get(k) != v}
    touched = {rule for rule, one in corpus.templates.items() if one.names & changed}
    if not touched:
        return corpus
    values = {**corpus.variables, **overrides}
    rules = {
        rule: read(one, corpus.templates[rule], values) if rule in touched else one
        for rule, one in corpus.rules.items()
    }
    variants = {
        rule: {
            variant: read(one, corpus.templates[rule], {**values, **corpus.parameters[variant]})
            if rule in touched
            else one
            for variant, one in named.items()
        }
        for rule, named in corpus.variants.items()
    }
    return assembled(corpus, rules, variants, values)


def refounded(corpus: Corpus, said: Mapping[str, Value]) -> Corpus:
    """Return the corpus of a fleet in which these values hold everywhere. Raise RuleError.

    What the command line gave stays. Unlike a host's own value, one of the whole fleet decides
    anew for which controls the rule itself is counted: a benchmark keeps its own numbers.
    """
    given = corpus.tiers.given
    fleet = {name: value for name, value in said.items() if name not in given}
    tiers = msgspec.structs.replace(corpus.tiers, fleet={**corpus.tiers.fleet, **fleet})
    changed = resolved(corpus, fleet)
    if changed is corpus:
        return corpus
    finder = Finder(changed.rules, corpus.templates, changed.variables, tiers)
    found = {name: finder.framework(one, name, 0) for name, one in corpus.frameworks.items()}
    bare = msgspec.structs.replace(
        changed,
        frameworks=found,
        problems=(*corpus.problems, *finder.problems),
        tiers=tiers,
        parameters=finder.parameters,
    )
    return assembled(bare, changed.rules, finder.rules, changed.variables)


def assembled(
    corpus: Corpus,
    rules: Mapping[str, Rule],
    variants: Mapping[str, Mapping[str, Rule]],
    values: Mapping[str, Value],
) -> Corpus:
    """Return the corpus with these rules, its document and its hash."""
    used = {key for one in corpus.templates.values() for key in one.judged}
    shown: dict[str, Any] = {key: value for key, value in values.items() if key in used}
    document = canonical.document(rules, variants, shown)
    return msgspec.structs.replace(
        corpus,
        rules=rules,
        variants=variants,
        variables=values,
        document=document,
        hash=hashlib.sha256(document).digest(),
    )
