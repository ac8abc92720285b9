"""An answer that can be read, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from openwatch.checks import files
from openwatch.checks.answers import answer, hindered, unanswered
from openwatch.checks.types import Facts, Observation, Observations, Probe, Reason, Verdict
from openwatch.fleet.inventory import Category, Hindrance

Found = TypeVar("Found")

# From what is known of a host, its answers and what was found in them before, to a fact or a Hindrance.
Reader: TypeAlias = Callable[[Facts, Observations, Mapping[Category, Any]], Any]


def answered(
    observations: Observations, probe: Probe, exits: frozenset[int] = frozenset({0})
) -> Observation | Hindrance:
    """Return an answer that is whole and ended with one of these exit statuses."""
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is None and observation.exit not in exits:
        broken = hindered(observation)
        if broken is None:
            return Hindrance.FAILED
    if broken is not None:
        return because(broken)
    return Hindrance.FAILED if observation.truncated else observation


def content(observations: Observations, path: str) -> str | Hindrance | None:
    """Return a file's text, None where there is no such file."""
    probe = files.reading(path)
    observation = answer(observations, probe)
    state = files.state_of(observation, probe)
    if isinstance(state, Verdict):
        return because(state)
    if state is files.State.GONE:
        return None
    return Hindrance.FAILED if observation.truncated else text(observation.stdout)


def line(observations: Observations, path: str) -> str | Hindrance | None:
    """Return the only line of a file, None where there is no such file."""
    found = content(observations, path)
    return found if found is None or isinstance(found, Hindrance) else found.strip()


def because(verdict: Verdict) -> Hindrance:
    """Return why there is no answer, as it is told of an inventory."""
    if verdict.reason in {Reason.DENIED, Reason.UNREADABLE}:
        is_denied = verdict.reason is Reason.DENIED or "denied" in verdict.detail.lower()
        return Hindrance.DENIED if is_denied else Hindrance.FAILED
    return Hindrance.TIMEOUT if verdict.reason is Reason.TIMED_OUT else Hindrance.FAILED


def text(stdout: bytes) -> str:
    """Return what was printed as text that the database can hold."""
    return stdout.decode("utf-8", "replace").replace("\0", "")


def known(found: Found | Hindrance | None) -> Found | None:
    """Return what was found, None where nothing was."""
    return None if isinstance(found, Hindrance) else found
