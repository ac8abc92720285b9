from __future__ import annotations

from pathlib import Path

import pytest

from openwatch.checks.types import Facts
from openwatch.rules import load as loading
from openwatch.rules.frameworks import members
from openwatch.rules.types import Corpus

RULE = """\
id: {id}
title: A title
description: What
rationale: Why
severity: low
category: system
references: {references}
implementations: [{{default: true, check: {{method: file_exists, path: /x}}}}]
"""
FRAMEWORK = """\
id: stig_rhel9
family: stig
title: STIG of RHEL 9
version: V2R8
platform: {family: rhel, version: 9}
controls:
  - {id: V-1, title: One, level: CAT II, rules: [a, b]}
  - {id: V-2, rules: [a]}
  - {id: V-3, automated: false, reason: a person has to look}
"""


def read(folder: Path, framework: str = FRAMEWORK, **references: str) -> Corpus:
    rules, frameworks = folder / "rules", folder / "frameworks"
    rules.mkdir()
    frameworks.mkdir()
    for name in ("a", "b", "c"):
        text = RULE.format(id=name, references=references.get(name, "{srg: [S-1]}"))
        (rules / f"{name}.yml").write_text(text)
    (frameworks / "f.yml").write_text(framework)
    return loading.read([folder], {})


def served(corpus: Corpus, family: str, version: str) -> dict[str, dict[str, tuple[str, ...]]]:
    found = members(corpus, Facts(family=family, version=version))
    assert all(variant == "" for _, serves in found for _, variant in serves)
    return {one.id: {rule: ids for (rule, _), ids in serves.items()} for one, serves in found}


def test_controls_are_turned_into_members_on_the_platform_and_its_rebuilds(tmp_path):
    corpus = read(tmp_path)
    assert corpus.problems == ()
    wanted = {"a": ("V-1", "V-2"), "b": ("V-1",)}
    for family in ("rhel", "rocky", "almalinux", "ol", "centos"):
        assert served(corpus, family, "9.4")["stig_rhel9"] == wanted
    assert "stig_rhel9" not in served(corpus, "rocky", "8.10")
    assert "stig_rhel9" not in served(corpus, "debian", "12")
    assert "stig_rhel9" not in served(corpus, "", "")


def test_references_inside_foreign_rules_are_honoured(tmp_path):
    corpus = read(
        tmp_path,
        a="{cis: {rhel9: {section: 1.1.1, level: L1}, ubuntu24: [{section: '2.1'}, {section: '2.2'}]}}",
        b="{stig: {rhel9: {vuln_id: V-9, stig_id: RHEL-09-1}}, nist_800_53: [AC-1, AC-2]}",
    )
    assert corpus.problems == ()
    on_rhel = served(corpus, "rhel", "9")
    assert on_rhel["cis_rhel9"] == {"a": ("1.1.1",)}
    assert on_rhel["stig_rhel9"] == {"a": ("V-1", "V-2"), "b": ("V-1", "V-9")}
    assert on_rhel["nist_800_53"] == {"b": ("AC-1", "AC-2")}
    on_ubuntu = served(corpus, "ubuntu", "24.04")
    assert on_ubuntu["cis_ubuntu24"] == {"a": ("2.1", "2.2")}
    assert corpus.frameworks["cis_rhel9"].controls[0].level == "L1"


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("family: stig", "famly: stig"), 2, "did you mean `family`?"),
        (("version: V2R8\n", ""), 1, "has no `version`"),
        (
            ("rules: [a, b]", "rules: [a, bb]"),
            1,
            "control V-1 names `bb`, no rule; did you mean `b`?",
        ),
        (("id: V-2", "id: V-1"), 8, "control V-1 is listed twice"),
        (("level:", "levle:"), 7, "did you mean `level`?"),
        (("version: 9", "version: nine"), 5, "must be a whole number"),
        (("id: stig_rhel9", "id: all"), 1, "`id` must be"),
    ],
)
def test_a_mistake_in_a_framework_is_named(tmp_path, change, line, said):
    (one,) = read(tmp_path, FRAMEWORK.replace(*change)).problems
    assert said in one.message
    assert one.line == line


def test_the_manual_controls_stay_listed(tmp_path):
    manual = read(tmp_path).frameworks["stig_rhel9"].controls[2]
    assert (manual.automated, manual.reason, manual.rules) == (
        False,
        "a person has to look",
        (),
    )
