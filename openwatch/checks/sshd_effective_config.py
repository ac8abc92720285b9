"""sshd_effective_config: what the SSH server would do, its Match blocks included."""

from __future__ import annotations

import re
import shlex

import msgspec

from openwatch.checks import files
from openwatch.checks.answers import (
    answer,
    error,
    failed,
    hindered,
    parsed,
    passed,
    said,
    shortened,
    unanswered,
    unexpected,
)
from openwatch.checks.config_lines import in_files
from openwatch.checks.parsers import sshd
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import Comparator, compares, require_number, wanted

_EFFECTIVE = Probe("sshd -T", seconds=15.0)
# Every file that is included from wherever, each once; a pattern without a match is no file,
# grep says so, and nothing is lost.
_WRITTEN = Probe(
    f"(cd /etc/ssh 2>/dev/null; r=0; s=' '; set -- {sshd.MAIN}; "
    "while [ $# -gt 0 ]; do x=$1; shift; case $x in /*) ;; *) x=/etc/ssh/$x;; esac; "
    'case $s in *" $x "*) continue;; esac; s="$s$x "; '
    'grep -aH \'\' -- "$x" || { [ $? = 1 ] && echo "$x:" || r=2; }; '
    'set -- "$@" $(grep -ahis \'^[[:space:]]*include[[:space:]=]\' -- "$x" | '
    "sed 's/^[[:space:]]*[[:alpha:]]*[[:space:]]*=*//;s/#.*//;s/[\"'\\'']//g'); "
    "done; exit $r)",
    limit=1 << 18,
)


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A connection for which Match blocks are worked out: sshd asks for all three."""

    user: str
    host: str
    addr: str

    def __post_init__(self) -> None:
        """Refuse what sshd would read as several."""
        for name in ("user", "host", "addr"):
            if not re.fullmatch(r"[A-Za-z0-9._:%@/-]+", getattr(self, name)):
                raise ValueError(f"`{name}` must be one word: {getattr(self, name)!r}")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which keyword, and its value; case does not matter in either.

    With a `context` the value is the one for that connection; without, it must hold for all.
    """

    key: str
    expected: str
    comparator: Comparator = "=="
    context: Context | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not re.fullmatch(r"[A-Za-z0-9]+", self.key):
            raise ValueError(f"`key` must be a keyword of sshd_config: {self.key!r}")
        require_number(self.comparator, self.expected)

    @property
    def effective(self) -> Probe:
        """The question to the server."""
        if self.context is None:
            return _EFFECTIVE
        given = self.context
        words = shlex.quote(f"user={given.user},host={given.host},addr={given.addr}")
        return Probe(f"sshd -T -C {words}", seconds=15.0)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask the server itself, and for the text of its files, which alone shows Match blocks."""
    return (params.effective, _WRITTEN) if params.context is None else (params.effective,)


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters, facts: Facts, observations: Observations
) -> Verdict:
    """Compare the global value, then every value that a Match block gives instead."""
    probe = params.effective
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    values = parsed(observations, probe, _parse_effective)
    if observation.exit != 0 or not values:
        if not facts.root and b"no hostkeys available" in observation.stderr:
            return error(Reason.DENIED, "host keys cannot be read: sshd -T has to run as root")
        return hindered(observation) or unexpected(observation)
    expected = wanted(params.comparator, params.expected)
    found = values.get(params.key.lower())
    if found is None and observation.truncated:
        return error(Reason.TRUNCATED, f"the answer was cut before {params.key}", expected)
    if found is None and params.comparator == "without":
        return error(Reason.UNPARSABLE, f"sshd -T does not tell {params.key}", expected)
    if found is None:
        detail = f"this sshd does not know {params.key}"
        return failed(Reason.MISSING, expected, "not known", detail)
    actual = shortened(", ".join(found), 1000)
    if not _holds(params, found):
        return failed(Reason.DIFFERS, expected, actual, f"{params.key} is {actual}")
    if params.context is not None:
        return passed(expected, actual)  # sshd has worked out its Match blocks itself
    return _in_matches(params, observations) or passed(expected, actual)


def _in_matches(params: Parameters, observations: Observations) -> Verdict | None:
    expected = wanted(params.comparator, params.expected)
    observation = answer(observations, _WRITTEN)
    written = parsed(observations, _WRITTEN, _parse_written)
    for one in written.settings:
        if one.block and one.key == params.key.lower() and not _holds(params, (one.value,)):
            detail = f"{one.where} sets {one.value!r} for `Match {one.block}`"
            actual = shortened(f"{one.value} (Match {one.block})", 500)
            return failed(Reason.DIFFERS, expected, actual, detail)
    if not observation.truncated and not _complete(observations):
        state = files.state_of_all(observation, _WRITTEN)
        if isinstance(state, Verdict):
            return state
        return error(
            Reason.UNREADABLE, said(observation) or "sshd_config has no line", expected
        )
    if observation.truncated:
        return error(Reason.TRUNCATED, "sshd_config was cut: Match blocks may hide", expected)
    gone = observation.stderr.decode("utf-8", "replace")
    for where, path in written.unread:
        if f"{path}: No such file" not in gone:
            detail = f"Match blocks may hide: {where} includes {shortened(path)}"
            return error(Reason.UNREADABLE, detail, expected)
    return None


def _complete(observations: Observations) -> bool:
    """Tell whether all files were read; a drop-in pattern that matches none is no loss."""
    observation = answer(observations, _WRITTEN)
    if observation.absent is not None:
        return False
    complaints = [line for line in observation.stderr.split(b"\n") if line.strip()]
    harmless = all(
        b"No such file" in line and f" {sshd.MAIN}:".encode() not in line for line in complaints
    )
    return harmless and observation.exit in {0, 2} and bool(observation.stdout)


def _holds(params: Parameters, found: tuple[str, ...]) -> bool:
    """Compare one value as text; a keyword given several times as a set of words."""
    expected = " ".join(params.expected.lower().split())
    values = [" ".join(value.lower().split()) for value in found]
    if len(values) == 1 or params.comparator in {"in", "without"}:
        return all(compares(value, params.comparator, expected) for value in values)
    same = set(values) == set(re.split(r"[,\s]+", expected))
    return same if params.comparator == "==" else not same and params.comparator == "!="


def _parse_effective(stdout: bytes) -> dict[str, tuple[str, ...]]:
    values: dict[str, tuple[str, ...]] = {}
    for line in stdout.decode("utf-8", "replace").split("\n"):
        key, _, value = line.strip().partition(" ")
        if key:
            values[key.lower()] = (*values.get(key.lower(), ()), value.strip())
    return values


def _parse_written(stdout: bytes) -> sshd.Written:
    return sshd.read(in_files(stdout))


METHOD = Method("sshd_effective_config", Parameters, probes, judge)
