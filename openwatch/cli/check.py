"""`openwatch check`: scan a host now, without a database."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping

import msgspec

from openwatch import clock, errors, log
from openwatch.checks.types import Facts, Lane, Severity
from openwatch.cli import UNABLE, Arguments, UsageError, complain, corpus, login, outcome
from openwatch.cli.outcome import Outcome, Row
from openwatch.config import suggestion
from openwatch.rules import capabilities, frameworks, relations
from openwatch.rules.frameworks import Member
from openwatch.rules.resolve import Resolver
from openwatch.rules.types import Corpus
from openwatch.scans.collect import Collected, Conversation
from openwatch.scans.judge import Ruling, beyond_rights, judge
from openwatch.scans.plan import Plan, plan
from openwatch.ssh.types import Privilege

_FORMATS = ("table", "json")
_LANES = {"config": (Lane.CONFIG,), "filesystem": (Lane.FILESYSTEM,), "all": tuple(Lane)}
_BUDGET = {Lane.CONFIG: 600.0, Lane.FILESYSTEM: 3000.0}  # seconds


class Wanted(msgspec.Struct, frozen=True):
    """Which rules were asked for; without a framework, every one that fits the host."""

    rules: frozenset[str]
    framework: str = ""
    lanes: tuple[Lane, ...] = (Lane.CONFIG,)


class Answer(msgspec.Struct, frozen=True):
    """What the host said."""

    facts: Facts
    plan: Plan
    collected: Collected
    controls: Mapping[Member, tuple[str, ...]]  # of the framework that was asked for


def run(arguments: Arguments) -> int:
    """Scan, print, and return the exit status that the usage describes."""
    log.configure(_choice(arguments, "--log-level", tuple(log.LEVELS), "warn"), "text")
    form = _choice(arguments, "--format", _FORMATS, "table")
    fleet = corpus.loaded(arguments)
    wanted = _wanted(arguments, fleet)
    way = login.way(arguments)
    rules = Resolver(fleet).corpus(way.name)
    started, begun = clock.now(), clock.monotonic()
    try:
        answer = _ask(way, rules, wanted)
    except (errors.HostError, errors.Rejected) as why:
        if form == "json":
            print(outcome.failure(way.name, why.code, why.message))
        complain(why.message)
        return UNABLE
    found = _outcome(way, rules, wanted, answer, started)
    found = msgspec.structs.replace(
        found, milliseconds=round((clock.monotonic() - begun) * 1000)
    )
    if form == "json":
        print(outcome.document(found))
    else:
        is_terminal = sys.stdout.isatty()
        columns = shutil.get_terminal_size((100, 24)).columns if is_terminal else 0
        colour = is_terminal and "NO_COLOR" not in os.environ
        print(outcome.table(found, colour=colour, width=columns))
    return found.exit_status


def _ask(way: login.Way, rules: Corpus, wanted: Wanted) -> Answer:
    """Hold the one conversation with the host. Raise HostError, InvalidInput."""
    session = login.open_session(way)
    with contextlib.closing(session):
        talk = Conversation(
            session,
            way.privilege,
            way.sudo_password,
            budget=sum(_BUDGET[lane] for lane in wanted.lanes),
            progress=_progress(),
        )
        with contextlib.closing(talk):
            talk.start()
            names = capabilities.needed(rules)
            facts = capabilities.parse(talk.detect(capabilities.detection(names)), names)
            only, controls = _narrowed(rules, facts, wanted)
            chosen = _planned(rules, facts, wanted.lanes, only)
            return Answer(facts, chosen, talk.ask(chosen.probes), controls)


def _planned(
    rules: Corpus, facts: Facts, lanes: tuple[Lane, ...], only: frozenset[str]
) -> Plan:
    """Return one plan for the lanes; the cheap questions come first."""
    plans = [plan(rules, facts, lane, only) for lane in lanes]
    probes = {probe.id: probe for one in plans for probe in one.probes}
    return Plan(
        lane=lanes[-1],
        probes=tuple(probes.values()),
        steps=tuple(step for one in plans for step in one.steps),
        elsewhere=plans[0].elsewhere if len(plans) == 1 else {},
        decided=plans[0].decided if len(plans) == 1 else {},
    )


def _outcome(
    way: login.Way, rules: Corpus, wanted: Wanted, answer: Answer, started: dt.datetime
) -> Outcome:
    rulings = judge(answer.plan, answer.facts, answer.collected.observations)
    notes = list(answer.collected.notes)
    if way.privilege is Privilege.NONE:
        notes.append(f"{beyond_rights(rulings)}: try --sudo")
    if answer.plan.elsewhere and wanted.lanes == (Lane.CONFIG,):
        count = len(answer.plan.elsewhere)
        notes.append(f"{count} rules that walk the host's disks were not asked: try --lane all")
    judged = [step.rule.id for step in answer.plan.steps if step.verdict is None]
    for one, other in relations.conflicts(rules.rules, judged):
        notes.append(f"{one} and {other} contradict each other: no host can meet both")
    return Outcome(
        host=way.name,
        facts=answer.facts,
        rows=tuple(_rows(rules, rulings, answer.controls)),
        corpus=rules.hash.hex(),
        started_at=clock.rfc3339(started),
        milliseconds=0,
        framework=wanted.framework,
        problems=rules.problems,
        notes=tuple(notes),
    )


def _rows(
    rules: Corpus, rulings: Mapping[str, Ruling], controls: Mapping[Member, tuple[str, ...]]
) -> Iterator[Row]:
    """Yield each rule as the framework counts it, or under its own parameters without one."""
    for name, ruling in rulings.items():
        counted = {variant: ids for (rule, variant), ids in controls.items() if rule == name}
        for variant, ids in (counted or {"": ()}).items():
            rule = rules.variants[name][variant] if variant else rules.rules[name]
            verdict = ruling.variants[variant].verdict if variant else ruling.verdict
            yield Row(rule, verdict, ids, variant)


def _wanted(arguments: Arguments, rules: Corpus) -> Wanted:
    """Return what the options ask for. Raise UsageError for a name that nothing has."""
    for name in arguments["--rule"]:
        if name not in rules.rules:
            raise UsageError(f"there is no rule {name!r}{suggestion(name, rules.rules)}")
    framework = arguments["--framework"] or ""
    names = {*rules.frameworks, *(f.family for f in rules.frameworks.values())}
    if framework and framework not in names:
        near = (
            suggestion(framework, names) or f"; there are {', '.join(sorted(names)) or 'none'}"
        )
        raise UsageError(f"there is no framework {framework!r}{near}")
    severities = tuple(s.value for s in Severity)
    least = severities.index(_choice(arguments, "--severity", severities, Severity.LOW.value))
    named = frozenset(arguments["--rule"]) or frozenset(rules.rules)
    severe = {n for n in named if severities.index(rules.rules[n].severity.value) >= least}
    # Whoever names a rule wants it asked, whatever that takes.
    lane = _choice(
        arguments, "--lane", tuple(_LANES), "all" if arguments["--rule"] else "config"
    )
    return Wanted(frozenset(severe), framework, _LANES[lane])


def _narrowed(
    rules: Corpus, facts: Facts, wanted: Wanted
) -> tuple[frozenset[str], dict[Member, tuple[str, ...]]]:
    """Return the rules to judge on this host, and the controls of the framework they serve."""
    if not wanted.framework:
        return wanted.rules, {}
    controls: dict[Member, tuple[str, ...]] = {}
    fits = False
    for framework, members in frameworks.members(rules, facts):
        if wanted.framework in (framework.id, framework.family):
            fits = True
            for member, ids in members.items():
                controls[member] = (*controls.get(member, ()), *ids)
    if not fits:
        name = facts.pretty or facts.family or "this system"
        raise errors.InvalidInput(
            f"{wanted.framework} has no version for {outcome.printable(name)}"
        )
    return wanted.rules & {rule for rule, _ in controls}, controls


def _choice(arguments: Arguments, option: str, allowed: tuple[str, ...], default: str) -> str:
    value: str = arguments[option] or default
    if value not in allowed:
        near = suggestion(value, allowed)
        raise UsageError(f"{option} must be one of {', '.join(allowed)}, not {value!r}{near}")
    return value


def _progress() -> Callable[[int, int], None] | None:
    """Return what shows how far the scan is, where a person watches."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\r\x1b[K" if done >= total else ""
        print(f"\r{done}/{total} questions answered{end}", end="", file=sys.stderr, flush=True)

    return show
