"""`openwatch verify --audit`: is the audit trail what was written, and who signed for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openwatch.audit.verify import Report, verify
from openwatch.cli import DONE, FAILED, UNABLE, Arguments, complain
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging
from openwatch.cli.outcome import printable
from openwatch.keys import signing, trust


def run(arguments: Arguments, named: Sequence[str]) -> int:
    """Verify, print, and return the exit status that the usage describes."""
    loaded = configured(arguments)
    start_logging(loaded)
    from openwatch import app  # after the configuration: a slip in it is told at once

    with app.administration(loaded.config) as db:
        keys = {key.id: key for key in signing.public_keys(db)}

        def is_signed(key: str, message: bytes, signature: bytes) -> bool | None:
            known = keys.get(key)
            if known is None:
                return None
            return signing.is_signed(known.public_key, message, signature)

        trusted = trust.trusted(keys, named)
        report = verify(db, is_signed, trusted)
    damaged = [wrong for key in keys.values() for wrong in trust.wrong_with(key, keys)]
    problems = [*report.problems, *damaged]
    for line in _told(report, problems, trusted):
        print(line)
    if problems:
        complain(f"broken: {printable(problems[0])}")
        return FAILED
    return DONE if report.is_authenticated else UNABLE


def _told(report: Report, problems: Sequence[str], trusted: frozenset[str]) -> Iterator[str]:
    for problem in problems:
        yield f"BROKEN  {printable(problem)}"
    if report.last is not None:
        yield (
            f"the last good checkpoint counts {report.last.count} events on"
            f" {report.last.at:%Y-%m-%d %H:%M:%S} UTC, head {report.last.head.hex()}"
        )
    if report.unsigned or report.waiting:
        yield (
            f"after it came {report.unsigned} sealed events, and {report.waiting} that wait for"
            " their place"
        )
    for key in report.signed_by:
        yield f"signed by key {key}{', trusted' if key in trusted else ''}"
    yield _verdict(report, is_broken=bool(problems))


def _verdict(report: Report, *, is_broken: bool) -> str:
    what = f"{report.events} events and {report.checkpoints} checkpoints"
    if is_broken:
        return f"broken: {what} were checked, and not all of it is what was written"
    if not report.events:
        return "the audit trail is empty: there is nothing to verify"
    if report.is_authenticated:
        return f"authentic: {what} are what trusted keys signed"
    why = (
        "no trusted key signed for them"
        if report.unproven >= report.events
        else f"no trusted key has signed for {report.unproven} of them"
    )
    return (
        f"consistent, not authenticated: {what} hang together, but {why}; compare the keys with a"
        " list that was written down (openwatch keys list) and name them with --trust"
    )
