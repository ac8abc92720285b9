"""`openwatch rules test`: what other rules or parameters would have said of stored answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openwatch import clock, errors
from openwatch.cli import DONE, FAILED, UNABLE, Arguments, UsageError, complain, corpus
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging
from openwatch.cli.outcome import printable
from openwatch.db import Database
from openwatch.posture import history
from openwatch.rules import load, resolve
from openwatch.rules.types import Corpus
from openwatch.scans import replay
from openwatch.scans.replay import Flip, Missing, Replay
from openwatch.settings import store
from openwatch.settings.types import SCAN_VARIABLES

FORMAT = 1  # of the JSON; a field may be added, none changes its meaning


class _Tally(msgspec.Struct):
    """What all hosts together came to."""

    hosts: int = 0
    unchanged: int = 0
    flips: int = 0
    missing: int = 0
    never: int = 0

    def add(self, found: Replay) -> None:
        self.hosts += 1
        self.unchanged += found.unchanged
        self.flips += len(found.flips)
        self.missing += len(found.missing)
        self.never += found.scanned_at is None


def run(arguments: Arguments) -> int:
    """Judge, print, and return the exit status that the usage describes."""
    at = _instant(arguments["--at"])
    given = corpus.variables(arguments["--var"])
    directory = arguments["--corpus"]
    if directory is not None and not Path(directory).is_dir():
        raise UsageError(f"--corpus {directory}: there is no such directory")
    loaded = configured(arguments)
    start_logging(loaded)
    from openwatch import app  # after the configuration: a slip in it is told at once

    try:
        if directory is not None:
            rules = load.read([Path(directory)], given)
        else:
            rules = load.load([Path(d) for d in loaded.config.rules.directories], given)
        with app.administration(loaded.config) as db:
            return _tested(db, rules, at, arguments)
    except errors.OpenWatchError as failure:
        complain(failure.message)
        return UNABLE


def _tested(db: Database, rules: Corpus, at: dt.datetime | None, arguments: Arguments) -> int:
    when = history.instant(db, at).at
    as_json = bool(arguments["--json"])
    tally = _Tally()
    hosts: list[msgspec.Raw] = []
    for found in _replayed(db, rules, when, arguments["--host"]):
        tally.add(found)
        if as_json:
            hosts.append(msgspec.Raw(msgspec.json.encode(found)))
        else:
            for line in _told(found):
                print(line)
    status = _status(tally, rules)
    if as_json:
        body = {
            "format": FORMAT,
            "at": clock.rfc3339(when),
            "corpus": rules.hash.hex(),
            "exit_status": status,
            "hosts": hosts,
            "problems": rules.problems,
        }
        print(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
        return status
    for problem in rules.problems:
        complain(f"mistake in the rules: {problem.file}:{problem.line}: {problem.message}")
    print(_summary(tally))
    return status


def _replayed(
    db: Database, rules: Corpus, at: dt.datetime, named: str | None
) -> Iterator[Replay]:
    resolver = resolve.Resolver(rules)
    settings = store.get(db, SCAN_VARIABLES).value.overrides
    for stored in replay.hosts(db, at, named):
        yield replay.replay(resolver.corpus(stored.name, stored.tags, settings), stored)


def _status(tally: _Tally, rules: Corpus) -> int:
    if tally.missing or tally.never or rules.problems or not tally.hosts:
        return UNABLE
    return FAILED if tally.flips else DONE


def _told(found: Replay) -> Iterator[str]:
    name = printable(found.name)
    if found.scanned_at is None:
        yield f"{name}: had not been scanned by then"
        return
    yield f"{name}: as it answered on {found.scanned_at:%Y-%m-%d %H:%M:%S} UTC"
    for flip in found.flips:
        yield from _flip(flip)
    for missing in found.missing:
        yield from _missing(missing)
    if found.gone:
        yield f"  not among these rules: {', '.join(found.gone)}"
    more = len(found.gone)
    tail = f", {more} rules that were judged then are not among these" if more else ""
    yield (
        f"  {len(found.flips)} would flip, {found.unchanged} would not,"
        f" {len(found.missing)} cannot be told{tail}"
    )


def _flip(flip: Flip) -> Iterator[str]:
    was = flip.was.value if flip.was else "not judged"
    variant = f" [{printable(flip.variant)}]" if flip.variant else ""
    yield f"  {was} -> {flip.now.value}  {flip.rule}{variant} ({flip.severity.value})"
    why = flip.detail or flip.reason.value.replace("_", " ")
    if flip.expected or flip.actual:
        why += f"; expected {flip.expected or 'nothing'}, found {flip.actual or 'nothing'}"
    yield f"      {printable(why)[:400]}"
    if flip.masked:
        yield "      secrets were masked in the answer: this may be owed to that"


def _missing(missing: Missing) -> Iterator[str]:
    variant = f" [{printable(missing.variant)}]" if missing.variant else ""
    yield f"  not collected  {missing.rule}{variant}: no scan of the {missing.lane.value} lane had asked"
    for command in missing.commands:
        first, *more = command.strip().split("\n")
        yield f"      {printable(first)[:200]}{' ...' if more else ''}"


def _summary(tally: _Tally) -> str:
    never = f", {tally.never} hosts had not been scanned by then" if tally.never else ""
    return (
        f"{tally.hosts} hosts: {tally.flips} verdicts would flip, {tally.unchanged} would not,"
        f" {tally.missing} cannot be told because nobody had asked{never}"
    )


def _instant(text: str) -> dt.datetime | None:
    """Return the instant meant; a day alone means its end, None that it has not ended yet."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        day = None
    try:
        if day is not None:
            last = dt.datetime.combine(day, dt.time.max, dt.UTC)
            return None if day == clock.now().date() else last
        found = dt.datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        f"--at takes a day (2026-02-01) or an instant with its zone (2026-02-01T03:00:00Z),"
        f" not {text!r}"
    )
