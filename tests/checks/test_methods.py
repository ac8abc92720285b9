"""Every check method against the answers of hosts: one file a case, named <case>.<verdict>.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from openwatch.checks.answers import Answers
from openwatch.checks.registry import METHODS
from openwatch.checks.types import Absence, Facts, Observation, Probe
from openwatch.rules.decode import Source, structure
from openwatch.rules.document import documents

_HERE = Path(__file__).parent
_CASES = sorted(_HERE.glob("*/*.yaml"))


def _observation(given: dict[str, Any]) -> Observation:
    fields = dict(given)
    for stream in ("stdout", "stderr"):
        if stream in fields:
            fields[stream] = fields[stream].encode("utf-8", "surrogateescape")
    if "absent" in fields:
        fields["absent"] = Absence(fields["absent"])
    return Observation(**fields)


def _answers(given: Any, probes: tuple[Probe, ...]) -> dict[str, Observation]:
    """By the order of the probes, or by a part of their script, which must be in one only."""
    if isinstance(given, list):
        assert len(given) == len(probes), [probe.script for probe in probes]
        return {p.id: _observation(one) for p, one in zip(probes, given, strict=True)}
    found = {}
    for part, one in given.items():
        (probe,) = [probe for probe in probes if part in probe.script]
        found[probe.id] = _observation(one)
    return found


@pytest.mark.parametrize("path", _CASES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_method_judges_the_answer_as_the_case_says(path: Path) -> None:
    data = path.read_bytes()
    case = yaml.safe_load(data)
    (node,) = documents(data, path.name)
    assert node.items is not None
    method = METHODS[path.parent.name]
    parameters = structure(
        node.items["parameters"], method.parameters, "the case", Source(path.name), frozenset()
    )
    facts = msgspec.convert(case.get("facts", {}), Facts)
    answers = _answers(case["observations"], method.probes(parameters, facts))
    verdict = method.judge(parameters, facts, Answers(answers))
    assert verdict.status == path.stem.rpartition(".")[2], verdict
    for key, wanted in case["verdict"].items():
        said = getattr(verdict, key)
        assert wanted in said if key == "detail" else said == wanted, verdict
    # Without the memory of a judging run the verdict is the same.
    assert method.judge(parameters, facts, answers) == verdict


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_passes_fails_and_errors(name: str) -> None:
    cases = [path.stem.rpartition(".")[2] for path in _CASES if path.parent.name == name]
    assert len(cases) >= 6
    assert {"pass", "fail", "error"} <= set(cases)


@pytest.mark.parametrize("name", METHODS)
def test_an_answer_that_never_came_is_an_error_with_its_reason(name: str) -> None:
    path = next(path for path in _CASES if path.parent.name == name)
    (node,) = documents(path.read_bytes(), path.name)
    assert node.items is not None
    method = METHODS[name]
    parameters = structure(
        node.items["parameters"], method.parameters, "the case", Source(path.name), frozenset()
    )
    facts = Facts(family="debian", version="12")
    probes = method.probes(parameters, facts)
    wanted = {
        Absence.TIMEOUT: "timed_out",
        Absence.LOST: "lost",
        Absence.OVERFLOW: "truncated",
        Absence.NOT_ASKED: "not_asked",
    }
    for absence, reason in wanted.items():
        answers = {probe.id: Observation(absent=absence) for probe in probes}
        verdict = method.judge(parameters, facts, answers)
        assert (verdict.status, verdict.reason) == ("error", reason)
    assert method.judge(parameters, facts, {}).reason == "not_asked"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("code", "reason"),
    [(127, "tool_missing"), (126, "not_executable"), (124, "timed_out"), (137, "killed")],
)
def test_a_tool_that_is_missing_or_broken_is_an_error(
    name: str, code: int, reason: str
) -> None:
    path = next(path for path in _CASES if path.parent.name == name)
    (node,) = documents(path.read_bytes(), path.name)
    assert node.items is not None
    method = METHODS[name]
    parameters = structure(
        node.items["parameters"], method.parameters, "the case", Source(path.name), frozenset()
    )
    facts = Facts(family="debian", version="12")
    answers = {probe.id: Observation(exit=code) for probe in method.probes(parameters, facts)}
    verdict = method.judge(parameters, facts, answers)
    assert (verdict.status, verdict.reason) == ("error", reason)
