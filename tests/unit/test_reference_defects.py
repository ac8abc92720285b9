"""The defects of the reference engine, by the numbers of the list we keep of them, and what guards
against each here. Those that no fixture or other test guards are tried below.

Numbers 4, 22 and 26 to 37 are about changing hosts and 5 about figures that nobody published:
build/bench prints ours.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from openwatch.checks.registry import METHODS
from openwatch.checks.types import Facts
from openwatch.errors import RuleError
from openwatch.rules import load as loading
from openwatch.rules.decode import Source, structure
from openwatch.rules.document import documents
from openwatch.scans.plan import plan

TESTS = Path(__file__).parents[1]
GUARDS: dict[str, list[str]] = {
    "1 one session a check": [
        "ssh/test_connect.py::test_a_scan_over_ssh_takes_one_channel",
        "unit/test_plan.py::test_equal_questions_are_asked_once",
    ],
    "2 capabilities nobody needs are probed": [
        "unit/test_rules_capabilities.py::test_only_the_capabilities_that_gates_name_are_needed",
        "unit/test_rules_capabilities.py::test_the_whole_detection_is_one_short_line",
    ],
    "3 one host at a time": [
        "db/test_jobs_worker.py::test_no_more_jobs_run_than_there_are_threads",
    ],
    "6 a dead connection fails rules": [
        "checks/command/ssh-died.error.yaml",
        "checks/test_methods.py::test_an_answer_that_never_came_is_an_error_with_its_reason",
        "db/test_scan_journey.py::test_an_unreachable_host_is_one_failed_scan_with_a_reason",
    ],
    "7 a missing tool or a refused file fails rules": [
        "checks/test_methods.py::test_a_tool_that_is_missing_or_broken_is_an_error",
        "unit/test_judge.py::test_nothing_passes_or_fails_by_a_tool_that_did_not_run",
        "checks/test_probes.py::test_what_may_not_be_read_is_an_error_and_neither_pass_nor_fail",
    ],
    "8 a capability without an answer is false": [
        "unit/test_rules_capabilities.py::test_no_answer_at_all_is_unknown_not_false",
        "unit/test_plan.py::test_an_unknown_capability_that_decides_is_an_error",
    ],
    "9 a stricter mode fails": [
        "checks/file_permission/stricter.pass.yaml",
        "checks/file_permission/sticky-is-stricter.pass.yaml",
        "checks/file_permission/stricter-but-exact.fail.yaml",
        "checks/file_permission/set-user-id.fail.yaml",
    ],
    "10 modules by substring, dash and underscore, other dead ends, built in": [
        "checks/kernel_module_state/loaded-under-its-other-name.fail.yaml",
        "checks/kernel_module_state/longer-name-is-another.pass.yaml",
        "checks/kernel_module_state/blacklisted-prefix-only.fail.yaml",
        "checks/kernel_module_state/install-false-in-usr.pass.yaml",
        "checks/kernel_module_state/built-in.fail.yaml",
        "checks/kernel_module_state/built-in-though-disabled.fail.yaml",
    ],
    "11 boot parameters by substring, and where grubby keeps none": [
        "checks/grub_parameter/part-of-a-name-at-boot.fail.yaml",
        "checks/grub_parameter/value-differs-at-boot.fail.yaml",
        "checks/grub_parameter/bls-not-in-default-grub.pass.yaml",
        "checks/grub_parameter/bls-only-in-default-grub.fail.yaml",
        "checks/grub_parameter/grubby-knows.pass.yaml",
    ],
    "12 configuration by the first line that looks like it": [
        "checks/config_value/inline-comment-and-tab.pass.yaml",
        "checks/config_value/double-quotes.pass.yaml",
        "checks/config_value/section.pass.yaml",
        "checks/config_value/other-section.fail.yaml",
        "checks/config_value/last-wins.fail.yaml",
        "checks/config_value/colon-in-the-value.pass.yaml",
        "checks/config_value/scan-pattern.pass.yaml",
        "checks/config_value/scan-suffix.fail.yaml",
        "checks/config_value/unreadable.error.yaml",
        "checks/config_value/drop-in-wins.fail.yaml",
        "checks/config_value/systemd-drop-in-of-a-package.fail.yaml",
        "checks/config_value/pwquality-drop-in-is-overridden-by-the-file.fail.yaml",
    ],
    "13 a definite fail is lost beside what cannot be assessed": [
        "unit/test_judge.py::test_a_definite_fail_survives_a_sibling_that_cannot_be_assessed",
        "unit/test_judge.py::test_an_and_fails_before_it_doubts_and_doubts_before_it_skips",
    ],
    "14 mount options without values, not mounted, sysctl now only, Match blocks": [
        "checks/mount_option/value-compared.pass.yaml",
        "checks/mount_option/value-differs.fail.yaml",
        "checks/mount_option/not-mounted.fail.yaml",
        "checks/mount_option/not-mounted-at-all.fail.yaml",
        "checks/sysctl_value/not-persisted.fail.yaml",
        "checks/sysctl_value/another-value-at-boot-is-told.pass.yaml",
        "checks/sshd_effective_config/match-block-undoes-it.fail.yaml",
        "checks/sshd_effective_config/given-several-times.fail.yaml",
    ],
    "15 rules that always pass": [
        "corpus/test_corpus.py::test_every_script_is_posix_sh_and_can_fail",
        "corpus/test_fixtures.py::test_every_rule_has_a_host_that_meets_it_and_one_that_does_not",
        "corpus/test_fixtures.py::test_no_rule_passes_on_a_host_without_its_tools",
        "checks/command/printed-what-must-not-be.fail.yaml",
        "checks/command/empty-but-refused.error.yaml",
        "checks/audit_rule_exists/longer-path-is-another.fail.yaml",
        "checks/audit_rule_exists/part-of-a-permission.fail.yaml",
    ],
    "16 one threshold for all benchmarks": [
        "unit/test_rules_variants.py::test_each_lens_counts_its_own_variant_from_one_question",
        "corpus/test_variants.py::test_each_benchmark_has_its_own_number",
    ],
    "17 another shell with sudo than without": [
        "unit/test_frames.py::test_the_boot_command_is_quoted_for_any_login_shell",
        "ssh/test_login_shells.py::test_a_scan_starts_under_any_login_shell",
    ],
    "18 a value becomes YAML or shell": [
        "unit/test_rules_variables.py::test_a_value_never_becomes_yaml",
        "unit/test_rules_variables.py::test_in_a_script_the_value_arrives_as_it_is",
        "unit/test_rules_variables.py::test_no_value_changes_what_a_document_says_beside_it",
        (
            "unit/test_rules_set_compare.py::"
            "test_a_value_in_the_observed_command_is_never_program_text"
        ),
        "checks/file_content/line-end-at-the-end-of-the-value.pass.yaml",
    ],
    "19 dependencies are not looked at": [
        "corpus/test_dependencies.py::test_switching_auditd_off_lowers_the_score",
        (
            "unit/test_judge.py::"
            "test_a_dependency_explains_what_cannot_be_had_and_takes_nothing_out"
        ),
    ],
    "20 mistakes in rules are passed over": [
        (
            "unit/test_rules_load.py::"
            "test_a_mistake_says_where_it_is_what_was_expected_and_what_is_near"
        ),
        "unit/test_rules_load.py::test_a_bad_document_is_named_and_the_rest_loads",
        "unit/test_rules_folders.py::test_what_looks_like_a_document_and_is_none_is_named",
    ],
    "21 evidence without times, values or a signature": [
        "db/test_scan_journey.py::test_a_scan_ends_in_findings_scores_and_evidence",
        "db/test_evidence.py::test_a_forged_signature_is_seen",
    ],
    "23 a signing key of the moment": [
        "db/test_evidence.py::test_a_signing_key_is_made_once_and_sealed",
        "acceptance/test_cli_evidence.py::test_an_export_can_be_verified_with_nothing_of_ours",
    ],
    "24 answers are kept with the secrets in them": [
        "db/test_secrets.py::test_no_planted_secret_is_anywhere_in_the_database",
        "db/test_secrets.py::test_what_is_stored_does_not_let_a_secret_be_guessed_at",
    ],
    "38 nothing has a time limit": [
        "ssh/test_hostile_probes.py::test_a_hang_costs_its_own_answer_after_its_budget",
        "ssh/test_hostile_probes.py::test_the_scan_s_own_budget_ends_it_with_what_it_has",
    ],
    "39 the first host key is taken": [
        "ssh/test_connect.py::test_an_unknown_key_stops_before_any_login_and_tells_the_key",
        "ssh/test_connect.py::test_a_changed_key_always_stops",
    ],
}
RULE = {
    "id": "a-rule",
    "title": "t",
    "description": "d",
    "rationale": "r",
    "severity": "low",
    "category": "system",
    "platforms": [{"family": "debian"}],
    "implementations": [
        {
            "default": True,
            "check": {"method": "file_exists", "path": "/x"},
            "remediation": {"mechanism": "manual"},
        }
    ],
}


@pytest.mark.parametrize("defect", GUARDS)
def test_each_defect_has_its_guards(defect: str) -> None:
    for guard in GUARDS[defect]:
        file, _, name = guard.partition("::")
        assert (TESTS / file).is_file(), guard
        if name:
            assert f"def {name}(" in (TESTS / file).read_text(), guard


@pytest.mark.parametrize(
    "way",
    [
        (),
        ("platforms", 0),
        ("implementations", 0),
        ("implementations", 0, "check"),
        ("implementations", 0, "remediation"),
    ],
)
def test_20_an_unknown_key_is_refused_at_every_level(
    way: tuple[Any, ...], tmp_path: Path
) -> None:
    rule = yaml.safe_load(yaml.safe_dump(RULE))
    place = rule
    for step in way:
        place = place[step]
    place["surprise"] = 1
    (tmp_path / "a.yml").write_text(yaml.safe_dump(rule))
    found = loading.read([tmp_path], {})
    assert not found.rules
    (problem,) = found.problems
    assert "unknown key `surprise`" in problem.message


def test_25_references_are_read_in_one_order(tmp_path: Path) -> None:
    objects = [{"z": "last", "a": "first", "m": 3}, {"m": 3, "a": "first", "z": "last"}]
    seen = []
    for number, one in enumerate(objects):
        folder = tmp_path / str(number)
        folder.mkdir()
        rule = {**RULE, "references": {"own": {"debian12": one}, "hipaa": ["b", "a"]}}
        (folder / "a.yml").write_text(yaml.safe_dump(rule, sort_keys=False))
        found = loading.read([folder], {})
        assert found.problems == ()
        seen.append({n: [c.id for c in f.controls] for n, f in found.frameworks.items()})
    assert seen[0] == seen[1] == {"own_debian12": ["first"], "hipaa": ["b", "a"]}


def test_25_a_rule_keeps_what_it_says_of_being_transactional(tmp_path: Path) -> None:
    for value, said in (
        (None, {}),
        (True, {"transactional": True}),
        (False, {"transactional": False}),
    ):
        (tmp_path / "a.yml").write_text(yaml.safe_dump({**RULE, **said}))
        assert loading.read([tmp_path], {}).rules["a-rule"].transactional is (
            value is not False
        )


SCRIPTS = {"run", "cmd", "observed_command"}  # the author's own programs
HOSTILE = [
    "x; touch canary #",
    "x' ; touch canary; '",
    'x" ; touch canary; "',
    "$(touch canary)",
    "`touch canary`",
    "x\ntouch canary\n",
    "/x' $(touch canary) '",
    "/x\\'; touch canary; \\'",
    "-exec touch canary ;",
    "*/$(touch${IFS}canary)",
]
CASES = {
    name: next(iter(sorted((TESTS / "checks" / name).glob("*.yaml"))))
    for name in sorted(METHODS)
}


@pytest.mark.parametrize("name", METHODS)
def test_40_no_value_of_a_rule_is_ever_run_by_a_shell(name: str, tmp_path: Path) -> None:
    """Every text of every method: refused where the rule is loaded, or quoted in what is asked."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "touch").symlink_to(shutil.which("touch") or "")
    subprocess.run(
        ["/bin/sh", "-c", "touch proof"], cwd=tmp_path, env={"PATH": str(tools)}, check=True
    )
    assert (tmp_path / "proof").exists()
    given = yaml.safe_load(CASES[name].read_bytes())["parameters"]
    fields = {one.encode_name for one in msgspec.structs.fields(METHODS[name].parameters)}
    for key in sorted(fields - SCRIPTS):
        for hostile in HOSTILE:
            for value in (hostile, [hostile]):
                _try(name, {**given, key: value}, tools)
    assert not (tmp_path / "canary").exists()


def _try(name: str, given: dict[str, Any], tools: Path) -> None:
    method = METHODS[name]
    (node,) = documents(yaml.safe_dump(given).encode(), "a.yml")
    try:
        parameters = structure(node, method.parameters, name, Source("a.yml"), frozenset())
    except RuleError:
        return
    for family in ("debian", "rhel", ""):
        for probe in method.probes(parameters, Facts(family=family)):
            subprocess.run(
                ["/bin/sh", "-c", probe.script],
                cwd=tools.parent,
                env={"PATH": str(tools)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=20,
                check=False,
            )


def test_1_the_corpus_asks_a_host_less_often_than_it_has_rules() -> None:
    corpus = loading.load()
    for family, version in (("debian", "12"), ("ubuntu", "24.04"), ("rhel", "9.4")):
        made = plan(corpus, Facts(family=family, version=version, root=True))
        asking = [step for step in made.steps if step.leaves]
        assert len(made.probes) < len(asking)
