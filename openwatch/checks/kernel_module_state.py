"""kernel_module_state: a kernel module is not loaded, and cannot be by request."""

from __future__ import annotations

import re
import shlex
from typing import Literal

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
    said,
    shortened,
    unanswered,
    unexpected,
)
from openwatch.checks.types import (
    Facts,
    Method,
    Normaliser,
    Observation,
    Observations,
    Probe,
    Reason,
    Verdict,
)

_LOADED = Probe("cat -- /proc/modules", limit=1 << 18, normaliser=Normaliser.MODULES)
_CONFIGURED = Probe(
    "modprobe --showconfig | grep -E '^(install|blacklist)[[:space:]]'", limit=1 << 18
)
_BUILT_IN = Probe('cat -- "/lib/modules/$(uname -r)/modules.builtin"', limit=1 << 18)
_DEAD_ENDS = {"true", "false"}


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which module; dashes and underscores in its name are the same."""

    name: str
    state: Literal["disabled", "blacklisted"] = "disabled"

    def __post_init__(self) -> None:
        """Refuse what is not a module's name."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise ValueError(f"`name` must be one module: {self.name!r}")


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask what is loaded, and what a request to load it would do or what is black-listed."""
    if params.state == "blacklisted":
        return (_LOADED, _CONFIGURED)
    name = shlex.quote(params.name)
    return (_LOADED, Probe(f"modprobe -n --show-depends -- {name}"), _BUILT_IN)


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:
    """Fail where it is loaded; else judge what a request to load it would do."""
    _, probe, *_ = probes(params, facts)
    expected = "not loaded, " + params.state
    loaded = _loaded(params, observations)
    if isinstance(loaded, Verdict):
        return loaded
    if loaded:
        return failed(Reason.PRESENT, expected, "loaded", f"{params.name} is loaded")
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    if params.state == "blacklisted":
        return _blacklisted(params, expected, observations)
    verdict = _disabled(params, expected, observation)
    return (
        _beside_the_kernel(params, verdict, observations)
        if verdict.reason is Reason.MEETS
        else verdict
    )


def _loaded(params: Parameters, observations: Observations) -> bool | Verdict:
    observation = answer(observations, _LOADED)
    state = files.state_of(observation, _LOADED)
    if isinstance(state, Verdict):
        return state
    if state is files.State.GONE:
        return False  # a kernel without loadable modules
    if _canonical(params.name) in parsed(observations, _LOADED, _parse_loaded):
        return True
    return cut(params.name) if observation.truncated else False


def _disabled(params: Parameters, expected: str, observation: Observation) -> Verdict:
    """Judge the line of this module, else the last one.

    The others are for modules that are loaded before it, and by a `softdep` also after it.
    """
    lines = [line.split() for line in observation.text.split("\n") if line.strip()]
    if observation.exit == 0 and lines:
        own = [line for line in lines if line[0] == "insmod" and _inserts(line, params.name)]
        word, *rest = line = (own or lines)[-1]
        if word == "builtin":
            detail = f"{params.name} is built into the kernel and cannot be disabled"
            return failed(Reason.PRESENT, expected, "built in", detail)
        if word == "install" and rest and _is_dead_end(rest):
            return passed(expected, "install " + rest[0])
        if word in {"install", "insmod"}:
            detail = f"{params.name} can be loaded: {shortened(' '.join(line))}"
            return failed(Reason.DIFFERS, expected, "can be loaded", detail)
        return error(Reason.UNPARSABLE, f"modprobe printed {shortened(observation.text)!r}")
    if re.search(rb"Module \S+ not found", observation.stderr):
        return passed(expected, "not available", said(observation))
    return hindered(observation) or unexpected(observation)


def _inserts(line: list[str], name: str) -> bool:
    """Tell whether an insmod line is for the file of this module."""
    file = line[1].rpartition("/")[2] if len(line) > 1 else ""
    return _canonical(file.partition(".ko")[0]) == _canonical(name)


def _beside_the_kernel(
    params: Parameters, verdict: Verdict, observations: Observations
) -> Verdict:
    """Let a pass stand only where the module is not a part of the kernel itself.

    modprobe reports an install command before it looks whether the module is built in, and knows
    no module at all where the running kernel's directory is gone.
    """
    observation = answer(observations, _BUILT_IN)
    state = files.state_of(observation, _BUILT_IN)
    if isinstance(state, Verdict):
        return state
    if _canonical(params.name) in parsed(observations, _BUILT_IN, _parse_built_in):
        detail = f"{params.name} is built into the kernel and cannot be disabled"
        return failed(Reason.PRESENT, verdict.expected, "built in", detail)
    if observation.truncated:
        return cut(params.name)
    if state is files.State.GONE and verdict.actual == "not available":
        detail = (
            "the modules of the running kernel are not here, so what it can load is unknown"
        )
        return error(Reason.UNREADABLE, detail, verdict.expected)
    return verdict


def _is_dead_end(command: list[str]) -> bool:
    """Tell whether an install command is true or false, bare or by its path, and nothing more."""
    folder, _, tool = command[0].rpartition("/")
    known = folder in {"", "/bin", "/usr/bin", "/sbin", "/usr/sbin"}
    return tool in _DEAD_ENDS and known and len(command) == 1


def _blacklisted(params: Parameters, expected: str, observations: Observations) -> Verdict:
    observation = answer(observations, _CONFIGURED)
    hindrance = hindered(observation)
    if hindrance is not None:
        return hindrance
    if _canonical(params.name) in parsed(observations, _CONFIGURED, _parse_blacklist):
        return passed(expected, "blacklisted")
    # grep ends with 1 where nothing is configured; any complaint means that modprobe failed.
    if observation.exit not in {0, 1} or observation.stderr.strip():
        return unexpected(observation)
    if observation.truncated:
        return cut(f"blacklist {params.name}")
    detail = f"no `blacklist {params.name}` is configured"
    return failed(Reason.MISSING, expected, "not blacklisted", detail)


def _canonical(name: str) -> str:
    return name.replace("-", "_")


def _parse_loaded(stdout: bytes) -> frozenset[str]:
    lines = stdout.decode("utf-8", "replace").split("\n")
    return frozenset(_canonical(line.split(" ", 1)[0]) for line in lines if line)


def _parse_built_in(stdout: bytes) -> frozenset[str]:
    paths = stdout.decode("utf-8", "replace").split("\n")
    return frozenset(_canonical(f.rpartition("/")[2].partition(".ko")[0]) for f in paths if f)


def _parse_blacklist(stdout: bytes) -> frozenset[str]:
    rows = (line.split() for line in stdout.decode("utf-8", "replace").split("\n"))
    return frozenset(_canonical(r[1]) for r in rows if len(r) >= 2 and r[0] == "blacklist")


METHOD = Method("kernel_module_state", Parameters, probes, judge)
