"""`openwatch check`: scan a host now, without a database."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from openwatch import clock, errors, log
from openwatch.checks.types import Facts, Lane, Severity
from openwatch.cli import UNABLE, Arguments, UsageError, complain, login, outcome
from openwatch.cli.outcome import Outcome, Row
from openwatch.config import suggestion
from openwatch.rules import capabilities, frameworks
from openwatch.rules.load import load
from openwatch.rules.types import Corpus
from openwatch.scans.collect import Collected, Conversation
from openwatch.scans.judge import judge
from openwatch.scans.plan import Plan, plan
from openwatch.ssh.types import Privilege

_FORMATS = ("table", "json")


class Wanted(msgspec.Struct, frozen=True):
    """Which rules were asked for; without a framework, every one that fits the host."""

    rules: frozenset[str]
    framework: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What the host said."""

    facts: Facts
    plan: Plan
    collected: Collected
    controls: Mapping[str, tuple[str, ...]]


def run(arguments: Arguments) -> int:
    """Scan, print, and return the exit status that the usage describes."""
    log.configure(_choice(arguments, "--log-level", tuple(log.LEVELS), "warn"), "text")
    form = _choice(arguments, "--format", _FORMATS, "table")
    corpus = load(_directories(arguments["--rules"]))
    wanted = _wanted(arguments, corpus)
    way = login.way(arguments)
    started, begun = clock.now(), clock.monotonic()
    try:
        answer = _ask(way, corpus, wanted)
    except (errors.HostError, errors.Rejected) as why:
        if form == "json":
            print(outcome.failure(way.name, why.code, why.message))
        complain(why.message)
        return UNABLE
    found = _outcome(way, corpus, wanted, answer, started)
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


def _ask(way: login.Way, corpus: Corpus, wanted: Wanted) -> Answer:
    """Hold the one conversation with the host. Raise HostError, InvalidInput."""
    session = login.open_session(way)
    with contextlib.closing(session):
        talk = Conversation(session, way.privilege, way.sudo_password, progress=_progress())
        with contextlib.closing(talk):
            talk.start()
            names = capabilities.needed(corpus)
            facts = capabilities.parse(talk.detect(capabilities.detection(names)), names)
            only, controls = _narrowed(corpus, facts, wanted)
            chosen = plan(corpus, facts, Lane.CONFIG, only)
            return Answer(facts, chosen, talk.ask(chosen.probes), controls)


def _outcome(
    way: login.Way, corpus: Corpus, wanted: Wanted, answer: Answer, started: dt.datetime
) -> Outcome:
    rulings = judge(answer.plan, answer.facts, answer.collected.observations)
    notes = list(answer.collected.notes)
    if way.privilege is Privilege.NONE:
        notes.append("not asked as root, so some rules could not be judged: try --sudo")
    return Outcome(
        host=way.name,
        facts=answer.facts,
        rows=tuple(
            Row(corpus.rules[name], ruling.verdict, answer.controls.get(name, ()))
            for name, ruling in rulings.items()
        ),
        corpus=corpus.hash.hex(),
        started_at=clock.rfc3339(started),
        milliseconds=0,
        framework=wanted.framework,
        problems=corpus.problems,
        notes=tuple(notes),
    )


def _wanted(arguments: Arguments, corpus: Corpus) -> Wanted:
    """Return what the options ask for. Raise UsageError for a name that nothing has."""
    for name in arguments["--rule"]:
        if name not in corpus.rules:
            raise UsageError(f"there is no rule {name!r}{suggestion(name, corpus.rules)}")
    framework = arguments["--framework"] or ""
    names = {*corpus.frameworks, *(f.family for f in corpus.frameworks.values())}
    if framework and framework not in names:
        near = (
            suggestion(framework, names) or f"; there are {', '.join(sorted(names)) or 'none'}"
        )
        raise UsageError(f"there is no framework {framework!r}{near}")
    severities = tuple(s.value for s in Severity)
    least = severities.index(_choice(arguments, "--severity", severities, Severity.LOW.value))
    named = frozenset(arguments["--rule"]) or frozenset(corpus.rules)
    severe = {n for n in named if severities.index(corpus.rules[n].severity.value) >= least}
    return Wanted(frozenset(severe), framework)


def _narrowed(
    corpus: Corpus, facts: Facts, wanted: Wanted
) -> tuple[frozenset[str], dict[str, tuple[str, ...]]]:
    """Return the rules to judge on this host, and the controls of the framework they serve."""
    if not wanted.framework:
        return wanted.rules, {}
    controls: dict[str, tuple[str, ...]] = {}
    fits = False
    for framework, members in frameworks.members(corpus, facts):
        if wanted.framework in (framework.id, framework.family):
            fits = True
            for rule, ids in members.items():
                controls[rule] = (*controls.get(rule, ()), *ids)
    if not fits:
        name = facts.pretty or facts.family or "this system"
        raise errors.InvalidInput(
            f"{wanted.framework} has no version for {outcome.printable(name)}"
        )
    return wanted.rules & controls.keys(), controls


def _directories(given: list[str]) -> tuple[Path, ...]:
    for text in given:
        if not Path(text).is_dir():
            raise UsageError(f"--rules {text}: there is no such directory")
    return tuple(map(Path, given))


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
