"""What is kept of an answer says the same as the answer: masking takes no verdict along."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from openwatch.checks.answers import Answers
from openwatch.checks.registry import METHODS
from openwatch.checks.types import Facts
from openwatch.evidence.redact import redact
from openwatch.rules.decode import Source, structure
from openwatch.rules.document import documents as parsed
from openwatch.scans import documents
from tests.checks.test_methods import _CASES, _answers


@pytest.mark.parametrize("method", METHODS)
def test_kept_answers_are_judged_like_those_that_came(method: str) -> None:
    wrong = []
    for path in (one for one in _CASES if one.parent.name == method):
        given, kept = _verdicts(path)
        texts = (given.detail, given.expected, given.actual)
        if given != kept or any(redact(text.encode()).masked for text in texts):
            wrong.append(f"{path.name}: {given}\n      {kept}")
    assert not wrong, "\n".join(wrong)


def _verdicts(path: Path):
    data = path.read_bytes()
    case = yaml.safe_load(data)
    (node,) = parsed(data, path.name)
    assert node.items is not None
    method = METHODS[path.parent.name]
    parameters = structure(
        node.items["parameters"], method.parameters, "the case", Source(path.name), frozenset()
    )
    facts = msgspec.convert(case.get("facts", {}), Facts)
    answers = _answers(case["observations"], method.probes(parameters, facts))
    blobs = documents.kept(answers).answers
    stored = {
        probe: msgspec.structs.replace(
            answers[probe], stdout=(one := documents.answer(blob)).stdout, stderr=one.stderr
        )
        for probe, blob in blobs.items()
    }
    return (
        method.judge(parameters, facts, Answers(answers)),
        method.judge(parameters, facts, Answers({**answers, **stored})),
    )
