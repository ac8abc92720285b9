"""The one question about sudoers that its methods share, and what may be missing in the answer."""

from __future__ import annotations

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, error, parsed, said, shortened, unanswered
from openwatch.checks.config_lines import in_files
from openwatch.checks.parsers import sudoers
from openwatch.checks.types import Observations, Probe, Reason, Verdict

# Every file that is included from wherever, each once. What a directory holds is read whole; which
# names in it count is the reader's business.
WRITTEN = Probe(
    f"(cd /etc 2>/dev/null; r=0; s=' '; set -- {sudoers.MAIN}; "
    "while [ $# -gt 0 ]; do x=$1; shift; case $x in /*) ;; *) x=/etc/$x;; esac; "
    'case $s in *" $x "*) continue;; esac; s="$s$x "; [ ! -d "$x" ] || continue; '
    'grep -aH \'\' -- "$x" || { [ $? = 1 ] && echo "$x:" || r=2; }; '
    'set -- "$@" $(grep -ahis \'^[[:space:]]*[@#]include\' -- "$x" | '
    "sed -n 's/\"//g;s/\\([^[:space:]]\\)[[:space:]]\\{1,\\}#.*/\\1/;s/[[:space:]]*$//;"
    "s/^[[:space:]]*[@#]include[[:space:]]\\{1,\\}//p;"
    "s/^[[:space:]]*[@#]includedir[[:space:]]\\{1,\\}\\(.*[^/]\\)\\/*$/\\1\\/*/p'); "
    "done; exit $r)",
    limit=1 << 18,
)


def read(observations: Observations) -> sudoers.Sudoers | Verdict | None:
    """Return what the files say, None where there are none; a Verdict is the error."""
    observation = answer(observations, WRITTEN)
    broken = unanswered(observation, WRITTEN)
    if broken is not None:
        return broken
    complaints = [line for line in observation.stderr.split(b"\n") if line.strip()]
    if any(b"No such file" not in line for line in complaints):
        state = files.state_of_all(observation, WRITTEN)
        return (
            state if isinstance(state, Verdict) else error(Reason.UNREADABLE, said(observation))
        )
    if not observation.stdout:
        if complaints and f" {sudoers.MAIN}: ".encode() in complaints[0]:
            return None
        return error(Reason.UNPARSABLE, f"{sudoers.MAIN} has no line, and nothing says why")
    if observation.truncated:
        return cut("all of sudoers")
    return parsed(observations, WRITTEN, _parse)


def doubt(found: sudoers.Sudoers, observations: Observations) -> Verdict | None:
    """Return the error where a part of sudoers is not known: what it holds could decide."""
    gone = answer(observations, WRITTEN).stderr.decode("utf-8", "replace")
    for where, path in found.unread:
        # sudo puts the host's name in place of %h.
        if "%h" in path or f"{path}: No such file" not in gone:
            return error(
                Reason.UNREADABLE, f"{where} includes {shortened(path)}, which was not read"
            )
    if found.strange:
        return error(Reason.UNPARSABLE, f"{found.strange[0]} is no line of sudoers")
    return None


def _parse(stdout: bytes) -> sudoers.Sudoers:
    return sudoers.read(in_files(stdout))
