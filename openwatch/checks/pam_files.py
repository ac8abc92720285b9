"""The questions about PAM's services that its methods share."""

from __future__ import annotations

from openwatch.checks import files
from openwatch.checks.answers import answer, cut, parsed
from openwatch.checks.config_lines import Line, in_files
from openwatch.checks.parsers import pam
from openwatch.checks.types import Observations, Verdict

# A service that is not in the first is looked for in the second.
_SERVICES = files.reading_all("/etc/pam.d", "*")
_VENDOR = files.reading_all("/usr/lib/pam.d", "*")
ALL = (_SERVICES, _VENDOR)


def read(observations: Observations) -> dict[str, list[Line]] | Verdict:
    """Return the lines of each service by its name; a Verdict is the error."""
    found: dict[str, list[Line]] = {}
    for probe in (_VENDOR, _SERVICES):
        observation = answer(observations, probe)
        state = files.state_of_all(observation, probe)
        if isinstance(state, Verdict):
            return state
        if observation.truncated:
            return cut("every service of PAM")
        if state is files.State.THERE:
            found |= parsed(observations, probe, _parse)
    return found


def _parse(stdout: bytes) -> dict[str, list[Line]]:
    return pam.services(in_files(stdout))
