"""The corpus itself: every document loads, refers to what exists, and its scripts are POSIX sh."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from openwatch.checks.types import Severity
from openwatch.rules.load import load
from openwatch.rules.types import Check, Corpus

ASSETS = Path(__file__).parents[2] / "assets"
CATEGORIES = {
    *("access-control", "audit", "filesystem", "kernel", "logging", "network"),
    *("services", "system"),
}
FAMILIES = {"rhel": 9, "ubuntu": 22, "debian": 12}
CONTROL = {
    "stig_rhel9": r"V-\d{6}",
    "stig_ubuntu24": r"UBTU-24-\d{6}",
    "cis_rhel9": r"\d+(\.\d+)+",
    "cis_ubuntu24": r"\d+(\.\d+)+",
    "cis_debian12": r"\d+(\.\d+)+",
}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


def documents(folder: str):
    for path in sorted((ASSETS / folder).rglob("*.yml")):
        yield path, yaml.safe_load(path.read_text())


def leaves(check: Check):
    if not check.children:
        yield check
    for child in check.children:
        yield from leaves(child)


def test_every_document_loads(corpus):
    assert [f"{p.file}:{p.line}: {p.message}" for p in corpus.problems] == []


def test_no_rule_is_lost_and_no_id_is_used_twice(corpus):
    written = Counter(rule["id"] for _, doc in documents("rules") for rule in doc["rules"])
    assert [name for name, times in written.items() if times > 1] == []
    assert set(written) == set(corpus.rules)
    assert len(written) >= 40


def test_a_rule_lives_in_the_folder_of_its_category():
    for path, doc in documents("rules"):
        assert path.parent.name in CATEGORIES
        assert {rule["category"] for rule in doc["rules"]} == {path.parent.name}, path


def test_ids_titles_and_texts_are_fit_to_be_read(corpus):
    for rule in corpus.rules.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.id), rule.id
        assert 0 < len(rule.title) <= 90, rule.id
        assert rule.description.rstrip().endswith("."), rule.id
        assert rule.rationale.rstrip().endswith("."), rule.id
        assert rule.severity in Severity
        assert rule.tags, rule.id


def test_every_rule_names_the_platforms_it_was_written_for(corpus):
    for rule in corpus.rules.values():
        assert rule.platforms, rule.id
        for platform in rule.platforms:
            assert platform.min_version >= FAMILIES[platform.family], rule.id


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_each_platform_has_a_corpus_worth_the_name(corpus, family):
    rules = [r for r in corpus.rules.values() if family in {p.family for p in r.platforms}]
    assert len(rules) >= 40


def test_every_rule_falls_back_or_says_when_it_applies(corpus):
    for rule in corpus.rules.values():
        defaults = [i for i in rule.implementations if i.default]
        assert len(defaults) <= 1, rule.id
        assert defaults or all(i.when is not None for i in rule.implementations), rule.id
        assert all(i.remediation for i in rule.implementations), rule.id


def test_what_cannot_be_undone_is_not_called_transactional(corpus):
    for rule in corpus.rules.values():
        written = repr([i.remediation for i in rule.implementations])
        manual = "'manual'" in written or "'command_exec'" in written
        assert not (manual and rule.transactional), rule.id


def test_every_script_is_posix_sh_and_can_fail(corpus):
    for rule in corpus.rules.values():
        for implementation in rule.implementations:
            for leaf in leaves(implementation.check):
                if leaf.method != "command":
                    continue
                script = leaf.parameters.script
                parsed = subprocess.run(
                    ["dash", "-n", "-c", script], capture_output=True, text=True, check=False
                )
                assert parsed.returncode == 0, f"{rule.id}: {parsed.stderr}"
                assert not re.search(r"\bfi\n\s*.*\$\?", script), f"{rule.id}: $? after fi"
                assert not re.search(r"\bexit 0\s*$", script), f"{rule.id}: always passes"
                assert "{{" not in script, rule.id


def test_no_script_takes_a_password_hash_off_the_host(corpus):
    for rule in corpus.rules.values():
        for implementation in rule.implementations:
            for leaf in leaves(implementation.check):
                if leaf.method == "config_value" or leaf.method.startswith("file_content"):
                    assert "shadow" not in leaf.parameters.path, rule.id
                if leaf.method == "command" and re.search(
                    r"/etc/g?shadow\b(?!-)", leaf.parameters.script
                ):
                    printed = re.findall(r"print ([^}]*)\}", leaf.parameters.script)
                    assert {p.strip() for p in printed} == {"$1"}, rule.id


@pytest.mark.parametrize("name", sorted(CONTROL))
def test_a_framework_lists_each_control_once_and_in_its_form(corpus, name):
    framework = corpus.frameworks[name]
    ids = [control.id for control in framework.controls]
    assert [i for i, times in Counter(ids).items() if times > 1] == []
    assert [i for i in ids if not re.fullmatch(CONTROL[name], i)] == []
    levels = {"L1", "L2"} if framework.family == "cis" else {"CAT I", "CAT II", "CAT III"}
    assert {control.level for control in framework.controls} <= levels
    assert framework.platform is not None
    for control in framework.controls:
        assert control.rules, control.id
        assert len(set(control.rules)) == len(control.rules), control.id
        for rule in control.rules:
            families = {p.family for p in corpus.rules[rule].platforms}
            assert framework.platform.family in families, f"{control.id} {rule}"


def test_every_rule_serves_a_control(corpus):
    served = {
        rule
        for f in corpus.frameworks.values()
        for control in f.controls
        for rule in control.rules
    }
    assert set(corpus.rules) - served == set()
