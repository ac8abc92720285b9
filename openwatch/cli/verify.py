"""`openwatch verify`: is the evidence what was signed, and by whom."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from openwatch import errors
from openwatch.cli import DONE, FAILED, UNABLE, Arguments, UsageError, complain, verify_audit
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging
from openwatch.cli.outcome import printable
from openwatch.evidence import archive, records
from openwatch.evidence.course import HostReport
from openwatch.evidence.verify import Report, Verifier
from openwatch.scans import agreement


def run(arguments: Arguments) -> int:
    """Verify, print, and return the exit status that the usage describes."""
    trusted = _fingerprints(arguments["--trust"])
    if arguments["--audit"]:
        return verify_audit.run(arguments, trusted)
    verifier = Verifier(trusted)
    if arguments["--from"]:
        _offline(verifier, Path(arguments["--from"]), arguments["--host"])
    else:
        _online(verifier, arguments)
    report = verifier.report()
    for line in _told(report):
        print(line)
    if report.is_broken:
        complain(f"broken: {printable(_first_problem(report))}")
        return FAILED
    return DONE if report.is_authenticated else UNABLE


def _online(verifier: Verifier, arguments: Arguments) -> None:
    loaded = configured(arguments)
    start_logging(loaded)
    from openwatch import app  # after the configuration: a slip in it is told at once

    with app.administration(loaded.config) as db:
        chosen = records.hosts(db, arguments["--host"])
        stream = records.walk(db, chosen)
        if arguments["--export"]:
            stream = archive.write(Path(arguments["--export"]), stream)
        with contextlib.closing(stream):
            _take(verifier, stream)
        for key, host in chosen:
            for wrong in agreement.disagreements(db, key):
                verifier.refuse(f"{host.name}: {wrong}")
    if arguments["--export"]:
        print(f"exported to {arguments['--export']}")


def _offline(verifier: Verifier, path: Path, named: str | None) -> None:
    stream = archive.read(path)
    with contextlib.closing(stream):
        try:
            _take(verifier, stream if named is None else _only(stream, named))
        except errors.InvalidInput as damage:
            verifier.refuse(damage.message)


def _take(verifier: Verifier, stream: Iterable[records.Record]) -> None:
    for record in stream:
        verifier.take(record)


def _only(stream: Iterable[records.Record], named: str) -> Iterator[records.Record]:
    """Leave the other hosts out, but none of what several hosts may rest on."""
    is_there = is_chosen = False
    for record in stream:
        if isinstance(record, records.Host):
            is_chosen = named in (record.name, str(record.id))
            is_there = is_there or is_chosen
        of_host = (records.Host, records.Scan, records.Checkpoint, records.Unchained)
        if is_chosen or not isinstance(record, of_host):
            yield record
    if not is_there:
        raise errors.NotFound(f"no host called {named!r} is in this export")


def _told(report: Report) -> Iterator[str]:
    for host in report.hosts:
        yield from _of_host(host)
    for problem in report.problems:
        yield f"BROKEN  {printable(problem)}"
    for key in report.signed_by:
        yield f"signed by key {key}{', trusted' if key in report.trusted else ''}"
    yield _verdict(report)


def _of_host(host: HostReport) -> Iterator[str]:
    state = "BROKEN" if host.problems else "ok"
    span = f"{host.first} to {host.last}" if host.first else "none"
    yield (
        f"{state:<7} {printable(host.name)} ({host.id}): scans {span}, the last recorded at"
        f" {printable(host.until) or 'no time'}, head {host.head or 'none'}"
    )
    since = host.checkpoint
    if since is not None:
        kept = (
            f"; {host.kept} of them are kept and were checked one by one" if host.kept else ""
        )
        yield (
            f"        not covered: scans 1 to {since.sequence}, of which {since.count} had been"
            f" removed by {since.at:%Y-%m-%d}{kept}"
        )
    for problem in host.problems:
        yield f"        {printable(problem)}"


def _verdict(report: Report) -> str:
    scans = sum(host.scans for host in report.hosts)
    what = f"{scans} scans of {len(report.hosts)} hosts"
    if report.is_broken:
        return f"broken: {what} were checked, and not all of it is what was signed"
    if not scans:
        return "nothing has been scanned: there is nothing to verify"
    if report.is_authenticated:
        return f"authentic: {what} are what trusted keys signed"
    unproven = sum(host.unproven for host in report.hosts)
    why = "no trusted key vouches for " + (
        "them" if unproven >= scans else f"{unproven} of them"
    )
    return (
        f"consistent, not authenticated: {what} hang together, but {why};"
        " compare the keys with a list that was written down (openwatch keys list) and name them"
        " with --trust"
    )


def _first_problem(report: Report) -> str:
    for host in report.hosts:
        if host.problems:
            return host.problems[0]
    return report.problems[0]


def _fingerprints(given: list[str]) -> list[str]:
    """Return fingerprints as they are stored. Raise UsageError for what is none."""
    found = []
    for text in given:
        plain = re.sub(r"[\s:]", "", text).lower()
        if not re.fullmatch(r"[0-9a-f]{32}", plain):
            raise UsageError(
                f"--trust takes the 32 hex digits that `openwatch keys list` prints, not {text!r}"
            )
        found.append(plain)
    return found
