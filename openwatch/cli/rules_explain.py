"""`openwatch rules explain`: what a scan of a host does with a rule, and why."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Facts
from openwatch.cli import DONE, Arguments, corpus, login, logs
from openwatch.cli.arguments import configured
from openwatch.cli.outcome import printable
from openwatch.cli.rules import known
from openwatch.cli.rules_show import checks, told
from openwatch.fleet import facts as host_facts
from openwatch.fleet import hosts
from openwatch.rules import capabilities
from openwatch.rules.resolve import Resolver
from openwatch.rules.types import Corpus
from openwatch.scans.collect import Conversation
from openwatch.scans.explain import Candidate, Explanation, explain
from openwatch.scans.plan import Step
from openwatch.settings import store
from openwatch.settings.types import SCAN_VARIABLES


class Subject(msgspec.Struct, frozen=True):
    """A host, what is known of it, and the rules as they are for it."""

    name: str
    facts: Facts
    rules: Corpus


def run(arguments: Arguments) -> int:
    """Print why a rule is judged on a host as it is."""
    logs.for_people(arguments)
    subject = _local(arguments) if arguments["--local"] else _stored(arguments)
    found = explain(subject.rules, subject.facts, arguments["ID"])
    if arguments["--json"]:
        print(json.dumps(_document(subject, found), indent=2, ensure_ascii=True))
    else:
        for line in _lines(subject, found):
            print(printable(line))
    return DONE


def _local(arguments: Arguments) -> Subject:
    """Ask this machine what it is; nothing of the rule itself is asked."""
    rules = corpus.loaded(arguments)
    known(rules, arguments["ID"])
    way = login.way(arguments)
    names = capabilities.needed(rules)
    with contextlib.closing(login.open_session(way)) as session:
        talk = Conversation(session, way.privilege, way.sudo_password)
        with contextlib.closing(talk):
            talk.start()
            facts = capabilities.parse(talk.detect(capabilities.detection(names)), names)
    return Subject(way.name, facts, Resolver(rules).corpus(way.name))


def _stored(arguments: Arguments) -> Subject:
    """Take what the last scan found out. Raise NotFound, Conflict, InvalidInput."""
    loaded = configured(arguments)
    from openwatch import app  # after the configuration: a slip in it is told at once

    fleet = app.rules(loaded.config)
    known(fleet, arguments["ID"])
    wanted = arguments["--host"]
    with app.administration(loaded.config) as db:
        found = [
            host
            for host in hosts.listed(db, scope=EVERYTHING)
            if wanted == str(host.id) or wanted.lower() == host.hostname.lower()
        ]
        if not found:
            raise errors.NotFound(f"there is no host {wanted!r}")
        if len(found) > 1:
            raise errors.Conflict(
                f"{len(found)} hosts are called {wanted!r}; give one of the ids: "
                + ", ".join(f"{host.id} ({host.environment})" for host in found)
            )
        (host,) = found
        facts = host_facts.of_host(db, host.key)
        settings = store.get(db, SCAN_VARIABLES).value.overrides
    if facts is None:
        raise errors.InvalidInput(
            f"{host.hostname} has not been scanned yet, so nothing is known of it: scan it first"
        )
    rules = Resolver(fleet).corpus(host.hostname, host.tags, settings)
    return Subject(host.hostname, facts, rules)


def _document(subject: Subject, found: Explanation) -> Mapping[str, Any]:
    facts = subject.facts
    return {
        "host": subject.name,
        "facts": {
            "family": facts.family,
            "version": facts.version,
            "root": facts.root,
            "capabilities": sorted(facts.capabilities),
            "unknown_capabilities": sorted(facts.unknown),
        },
        "rule": found.rule.id,
        "is_for_platform": found.is_for_platform,
        "superseded_by": list(found.superseded_by),
        "implementations": [
            {
                "number": one.number,
                "when": one.gate,
                "open": one.is_open,
                "chosen": one.is_chosen,
                "check": checks(one.implementation.check),
            }
            for one in found.candidates
        ],
        "lane": found.lane,
        "verdict": None
        if found.step is None or found.step.verdict is None
        else msgspec.to_builtins(found.step.verdict),
        "probes": [_probe(found, probe) for probe in _asked(found.step)],
        "depends_on": list(found.rule.depends_on),
        "skipped_with": list(found.skipped_with),
        "variants": {}
        if found.step is None
        else {
            name: [_probe(found, probe) for probe in _asked(step)]
            for name, step in found.step.variants.items()
        },
        "controls": found.controls,
    }


def _probe(found: Explanation, name: str) -> Mapping[str, Any]:
    probe = found.probes[name]
    return {"id": name, "script": probe.script, "isolated": probe.isolated, "lane": probe.lane}


def _asked(step: Step | None) -> list[str]:
    """Return the ids of the probes that a step rests on, each once."""
    leaves = step.leaves if step else ()
    return list(dict.fromkeys(probe for leaf in leaves for probe in leaf.probes))


def _lines(subject: Subject, found: Explanation) -> Iterator[str]:
    facts, rule = subject.facts, found.rule
    system = facts.pretty or f"{facts.family} {facts.version}".strip() or "an unknown system"
    yield f"{rule.id}: {rule.title}"
    yield f"on {subject.name}: {system}, {'asked as root' if facts.root else 'not asked as root'}"
    if not found.is_for_platform:
        yield "skipped: the rule is for other systems"
    if found.superseded_by:
        yield f"left out: {', '.join(found.superseded_by)} supersedes it here"
    yield "implementations, in the order they are tried:"
    for one in found.candidates:
        yield f"  {one.number}. when {one.gate}: {_state(one)}"
    for one in found.candidates:
        if one.is_chosen:
            yield from (f"     {line}" for line in told(one.implementation.check))
    if found.step is None:
        return
    if found.step.verdict is not None:
        verdict = found.step.verdict
        yield f"{verdict.status.value} without a question: {verdict.detail}"
    yield from _dependencies(found)
    asked = _asked(found.step)
    if asked:
        yield f"asked in the {found.lane} lane:"
        yield from _told(found, asked)
    yield from _variants(found, found.step, set(asked))


def _dependencies(found: Explanation) -> Iterator[str]:
    if found.rule.depends_on:
        yield f"after {', '.join(found.rule.depends_on)}, on which it depends"
    if found.skipped_with:
        yield f"skipped with {', '.join(found.skipped_with)}, which this host has no use for"


def _told(found: Explanation, asked: list[str]) -> Iterator[str]:
    for name in asked:
        probe = found.probes[name]
        kind = (
            "in a shell of its own" if probe.isolated else "shared where another rule asks it"
        )
        yield f"  {name}, {kind}"
        yield from (f"    | {line}" for line in probe.script.rstrip("\n").split("\n"))


def _variants(found: Explanation, step: Step, asked: set[str]) -> Iterator[str]:
    """Tell which benchmark counts which parameters, and what is asked for them beside."""
    for framework, ids in found.controls.get("", {}).items():
        yield f"counts for {framework} {', '.join(ids)}"
    for name, other in step.variants.items():
        for framework, ids in found.controls.get(name, {}).items():
            yield f"counts for {framework} {', '.join(ids)} under {name}"
        more = [probe for probe in _asked(other) if probe not in asked]
        if more:
            yield f"  asked for {name} beside:"
            yield from (f"  {line}" for line in _told(found, more))


def _state(one: Candidate) -> str:
    if one.is_chosen:
        return "chosen"
    if one.is_open is None:
        return "cannot be told, a capability gave no answer"
    return "fits, but is not reached" if one.is_open else "does not fit"
