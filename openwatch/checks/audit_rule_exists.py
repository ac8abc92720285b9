"""audit_rule_exists: the kernel holds an audit rule now, and the files of the next boot do."""

from __future__ import annotations

import functools

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import (
    answer,
    cut,
    error,
    failed,
    hindered,
    parsed,
    passed,
    shortened,
    unanswered,
    unexpected,
)
from openwatch.checks.parsers import audit
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict

_LOADED = Probe("auditctl -l", limit=1 << 18)
# Only what is set: the counters beside it change by themselves.
_STATUS = Probe(
    "auditctl -s | grep -E '^(enabled|failure|rate_limit|backlog_limit|backlog_wait_time"
    "|loginuid_immutable) '"
)
_DIRECTORY = files.reading_all("/etc/audit/rules.d", "*.rules")
_FILE = files.reading("/etc/audit/audit.rules")
_AT_LEAST = {"backlog_limit", "backlog_wait_time", "enabled"}  # 2 is enabled, and locked


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules as auditctl takes them, one a line, each of which must be loaded.

    With `persist` they must be in /etc/audit too. With `exact` a loaded rule may not record more
    system calls or accesses than the line names.
    """

    rule: str
    persist: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        """Refuse what is not a rule."""
        if not self.lines:
            raise ValueError("`rule` holds no rule")

    @property
    def lines(self) -> tuple[audit.Line, ...]:
        """What is wanted. Raise ValueError."""
        return _wanted(self.rule)


@functools.lru_cache(maxsize=1024)  # a rule is judged for many hosts
def _wanted(text: str) -> tuple[audit.Line, ...]:
    found = []
    for row in text.split("\n"):
        if row.strip() and not row.strip().startswith("#"):
            line = audit.read_line(row.strip(), quoted=True)
            if line.says is None:
                raise ValueError(f"`{row.strip()}` is not a rule that could be loaded")
            found.append(line)
    return tuple(found)


class _Held(msgspec.Struct):
    """What a source holds; `doubt` says why it may hold more."""

    book: audit.Book
    doubt: Verdict | None = None


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for the loaded rules and the files; for the status where a line is about it."""
    controls = any(isinstance(line.says, audit.Control) for line in params.lines)
    rules = any(isinstance(line.says, audit.Rule) for line in params.lines)
    loaded = ((_LOADED,) if rules else ()) + ((_STATUS,) if controls else ())
    return (*loaded, _DIRECTORY, _FILE)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Look for every line in the kernel; the files decide with `persist`, else are told."""
    wanted, asked = params.lines, probes(params, facts)
    expected = shortened("; ".join(line.text for line in wanted), 1000)
    held = _loaded(_LOADED, observations) if _LOADED in asked else _Held(audit.Book())
    status = _loaded(_STATUS, observations) if _STATUS in asked else _Held(audit.Book())
    if isinstance(held, Verdict):
        return held
    if isinstance(status, Verdict):
        return status
    book = msgspec.structs.replace(held.book, controls=status.book.controls)
    now = _Held(book, held.doubt)
    missing = [line for line in wanted if not _holds(line, now, exact=params.exact)]
    if missing and now.doubt is not None:
        return now.doubt
    if missing:
        detail = _told(missing[0], now)
        return failed(Reason.MISSING, expected, _actual("loaded", wanted, missing), detail)
    off = any(
        isinstance(line.says, audit.Rule) and line.says.filter == "exit" for line in wanted
    )
    if off and book.switched_off:
        detail = "loaded, but `-a never,task` keeps every task from being audited"
        return failed(Reason.DIFFERS, expected, "switched off by -a never,task", detail)
    return _at_boot(params, observations, expected)


def _at_boot(params: Parameters, observations: Observations, expected: str) -> Verdict:
    held = _persisted(observations)
    if isinstance(held, Verdict):
        return held if params.persist else passed(expected, "loaded")
    missing = [line for line in params.lines if not _holds(line, held, exact=params.exact)]
    if not missing:
        detail = "loaded, and in /etc/audit"
        return passed(expected, "loaded and persisted" if params.persist else "loaded", detail)
    if not params.persist:
        detail = "" if held.doubt else "loaded, but not in /etc/audit: lost at the next boot"
        return passed(expected, "loaded", detail)
    if held.doubt is not None:
        return held.doubt
    actual = "loaded; " + _actual("persisted", params.lines, missing)
    detail = f"/etc/audit does not hold `{shortened(missing[0].text)}`: lost at the next boot"
    return failed(Reason.MISSING, expected, actual, detail)


def _holds(line: audit.Line, held: _Held, *, exact: bool) -> bool:
    wanted = line.says
    if isinstance(wanted, audit.Rule):
        return audit.covered(wanted, held.book, exact=exact)
    if wanted is None:
        return True
    value = held.book.controls.get(wanted.name)
    if value is None:
        return False
    if wanted.name in _AT_LEAST and wanted.value and not exact:
        return value >= wanted.value
    return value == wanted.value


def _loaded(probe: Probe, observations: Observations) -> _Held | Verdict:
    observation = answer(observations, probe)
    broken = unanswered(observation, probe) or hindered(observation)
    if broken is not None:
        return broken
    if observation.exit != 0 or not observation.stdout.strip():
        return unexpected(observation)
    parse = _parse_rules if probe is _LOADED else _parse_status
    book = parsed(observations, probe, _parse_cut if observation.truncated else parse)
    doubt = cut("all rules") if observation.truncated else None
    return _Held(book, doubt or _unread("auditctl printed", book))


def _persisted(observations: Observations) -> _Held | Verdict:
    """Return what is loaded at boot: augenrules makes the file from the directory, if it can."""
    for probe, check in ((_DIRECTORY, files.state_of_all), (_FILE, files.state_of)):
        observation = answer(observations, probe)
        state = check(observation, probe)
        if isinstance(state, Verdict):
            return state
        if state is files.State.GONE:
            continue
        parse = _parse_files if probe is _DIRECTORY else _parse_rules
        book = parsed(observations, probe, _parse_cut if observation.truncated else parse)
        if observation.truncated or not book.empty:
            doubt = cut("all rules") if observation.truncated else None
            return _Held(book, doubt or _unread("/etc/audit holds", book))
    return _Held(audit.Book())


def _unread(where: str, book: audit.Book) -> Verdict | None:
    if not book.strange:
        return None
    line = shortened(book.strange[0])
    return error(Reason.UNPARSABLE, f"{where} {line!r}, which is no audit rule")


def _told(line: audit.Line, held: _Held) -> str:
    text = shortened(line.text)
    if isinstance(line.says, audit.Rule) and audit.near(line.says, held.book):
        return f"loaded under another key: `{text}`"
    return f"not loaded: `{text}`"


def _actual(what: str, wanted: tuple[audit.Line, ...], missing: list[audit.Line]) -> str:
    if len(wanted) == len(missing):
        return f"not {what}"
    return f"not {what}: " + shortened("; ".join(line.text for line in missing), 500)


def _parse_rules(stdout: bytes) -> audit.Book:
    return audit.read_lines(stdout.decode("utf-8", "replace"))


def _parse_cut(stdout: bytes) -> audit.Book:
    """Leave the last line out: what is left of it may be another rule."""
    return _parse_rules(stdout[: stdout.rfind(b"\n") + 1])


def _parse_files(stdout: bytes) -> audit.Book:
    """Read the files of the directory; augenrules moves a `-D` to the top, so it takes nothing."""
    rows = [row.partition(":")[2] for row in stdout.decode("utf-8", "replace").split("\n")]
    return audit.read_lines("\n".join(row for row in rows if row.split() != ["-D"]))


def _parse_status(stdout: bytes) -> audit.Book:
    rows = [row.split() for row in stdout.decode("utf-8", "replace").split("\n")]
    values = {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1].isdecimal()}
    return audit.Book(controls=values)


METHOD = Method("audit_rule_exists", Parameters, probes, judge)
