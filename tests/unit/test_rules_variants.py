"""One rule under the numbers of several benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest

from openwatch.checks.types import Facts, Observation, Status
from openwatch.posture.lens import lenses
from openwatch.rules import load as loading
from openwatch.rules import variants
from openwatch.rules.frameworks import members
from openwatch.rules.resolve import Resolver
from openwatch.rules.types import Corpus, Problem
from openwatch.scans import documents
from openwatch.scans.judge import judge
from openwatch.scans.plan import plan
from tests.unit.test_rules_tiers import LENGTH, RULE, said, write

DEBIAN = Facts(family="debian", version="12")
FRAMEWORK = """\
id: {family}_debian12
family: {family}
title: A benchmark
version: '1'
platform: {{family: debian, version: 12}}
controls:
  - {{id: '1.1', rules: [length, plain], params: {{pam_pwquality_minlen: {minlen}}}}}
"""
PLAIN = RULE.format(id="plain", check="{method: file_exists, path: /x}")


def read(folder: Path, given: dict[str, object] | None = None, **files: str) -> Corpus:
    named = {name.replace("__", "/") + ".yml": text for name, text in files.items()}
    return loading.read(
        [
            write(
                folder,
                {
                    "rules/length.yml": RULE.format(id="length", check=LENGTH),
                    "rules/plain.yml": PLAIN,
                    "frameworks/cis.yml": FRAMEWORK.format(family="cis", minlen=14),
                    "frameworks/stig.yml": FRAMEWORK.format(family="stig", minlen=15),
                    **named,
                },
            )
        ],
        given or {},
    )


def counted(corpus: Corpus) -> dict[str, dict[tuple[str, str], tuple[str, ...]]]:
    return {framework.id: dict(serves) for framework, serves in members(corpus, DEBIAN)}


def problem(corpus: Corpus) -> Problem:
    (one,) = corpus.problems
    return one


def test_each_lens_counts_its_own_variant_from_one_question(tmp_path):
    corpus = read(tmp_path)
    assert corpus.problems == ()
    assert counted(corpus) == {
        "cis_debian12": {
            ("length", "pam_pwquality_minlen=14"): ("1.1",),
            ("plain", ""): ("1.1",),
        },
        "stig_debian12": {("length", ""): ("1.1",), ("plain", ""): ("1.1",)},
    }
    planned = plan(corpus, DEBIAN, only=frozenset({"length"}))
    assert len(planned.probes) == 1
    (step,) = planned.steps
    assert list(step.variants) == ["pam_pwquality_minlen=14"]
    assert (
        step.leaves[0].probes
        == step.variants["pam_pwquality_minlen=14"].leaves[0].probes
        == (planned.probes[0].id,)
    )


def test_a_variant_has_its_own_verdict_and_its_own_words(tmp_path):
    corpus = read(tmp_path)
    rule = corpus.rules["length"]
    (variant,) = corpus.variants["length"].values()
    assert (rule.title, variant.title) == ("At least 15 characters", "At least 14 characters")
    planned = plan(corpus, DEBIAN, only=frozenset({"length"}))
    answers = {p.id: Observation(exit=0, stdout=b"") for p in planned.probes}
    ruling = judge(planned, DEBIAN, answers)["length"]
    (other,) = ruling.variants.values()
    assert ruling.verdict.expected != other.verdict.expected

    references = {
        ("length", "pam_pwquality_minlen=14"): {"cis_debian12": ("1.1",)},
        ("length", ""): {"stig_debian12": ("1.1",)},
    }
    record = documents.scan_record(planned, {"length": ruling}, references)
    kept = documents.decoded(documents.encoded(record)).rules["length"]
    assert set(kept.references) == {"cis_debian12", "stig_debian12"}
    assert dict(kept.variants["pam_pwquality_minlen=14"].references) == {
        "cis_debian12": ("1.1",)
    }
    assert kept.variants["pam_pwquality_minlen=14"].expected == other.verdict.expected


def test_variants_of_frameworks_for_other_systems_are_not_judged(tmp_path):
    planned = plan(read(tmp_path), Facts(family="rhel", version="9"))
    assert [step.variants for step in planned.steps] == [{}, {}]


def test_an_operators_value_does_not_move_a_benchmark(tmp_path):
    corpus = read(tmp_path, variables__defaults=said(pam_pwquality_minlen=8))
    assert set(corpus.variants["length"]) == {
        "pam_pwquality_minlen=14",
        "pam_pwquality_minlen=15",
    }
    assert counted(corpus)["stig_debian12"] == {
        ("length", "pam_pwquality_minlen=15"): ("1.1",),
        ("plain", ""): ("1.1",),
    }


def test_nor_does_a_value_of_one_host_and_all_hosts_share_the_lens(tmp_path):
    corpus = read(tmp_path, variables__hosts__a=said(pam_pwquality_minlen=8))
    other = Resolver(corpus).corpus("a")
    assert counted(other) == counted(corpus)
    assert "pam_pwquality_minlen=15" in corpus.variants["length"]
    (own,) = other.rules["length"].implementations
    assert own.check.parameters.expected == "8"
    for name in ("14", "15"):
        one = other.variants["length"][f"pam_pwquality_minlen={name}"]
        assert one.implementations[0].check.parameters.expected == name


def test_the_command_line_wins_over_a_benchmark(tmp_path):
    corpus = read(tmp_path, {"pam_pwquality_minlen": "12"})
    assert corpus.variants == {}
    assert set(counted(corpus)["cis_debian12"]) == {("length", ""), ("plain", "")}


def test_the_hash_of_the_corpus_stands_for_its_variants(tmp_path):
    before = read(tmp_path)
    after = read(tmp_path, frameworks__cis=FRAMEWORK.format(family="cis", minlen=13))
    assert before.hash != after.hash


@pytest.mark.parametrize(
    ("params", "line", "said_"),
    [
        ("{pam_pwqality_minlen: 14}", 7, "did you mean `pam_pwquality_minlen`?"),
        ("{pam_pwquality_minlen: '14'}", 7, "must be a whole number without quotes"),
        ("[pam_pwquality_minlen]", 7, "`params` must be a mapping, found a list"),
        ("{ssh_max_sessions: 3}", 1, "sets `ssh_max_sessions`, which none of its rules uses"),
    ],
)
def test_a_mistake_in_the_parameters_is_named(tmp_path, params, line, said_):
    text = FRAMEWORK.format(family="cis", minlen=14)
    found = problem(
        read(tmp_path, frameworks__cis=text.replace("{pam_pwquality_minlen: 14}", params))
    )
    assert (Path(found.file).name, found.line) == ("cis.yml", line)
    assert said_ in found.message


def test_a_rule_under_two_numbers_in_one_framework_is_counted_once_and_named(tmp_path):
    text = FRAMEWORK.format(family="cis", minlen=14) + "  - {id: '1.2', rules: [length]}\n"
    corpus = read(tmp_path, frameworks__cis=text)
    assert "control 1.2, `length`: another control" in problem(corpus).message
    assert counted(corpus)["cis_debian12"][("length", "pam_pwquality_minlen=14")] == ("1.1",)


def test_a_rule_that_refuses_a_benchmarks_value_is_never_judged_by_another(tmp_path):
    script = "{method: command, run: \"awk '/{{ pam_pwquality_minlen }}/' {{ banner_text }}\"}"
    text = RULE.format(id="length", check=script.replace("pam_pwquality_minlen", "root_umask"))
    framework = FRAMEWORK.format(family="cis", minlen=14).replace(
        "pam_pwquality_minlen: 14", "root_umask: '$(x)'"
    )
    corpus = read(tmp_path, rules__length=text, frameworks__cis=framework)
    assert "control 1.1, `length`" in corpus.problems[0].message
    assert all(rule != "length" for rule, _ in counted(corpus)["cis_debian12"])


def test_lenses_take_rules_with_and_without_variants():
    _, lens = lenses([("f", "f", "F", {("a", "x=1"): ["1"], ("b", ""): ["2"]})])
    assert lens.members == {("a", "x=1"): ("1",), ("b", ""): ("2",)}


def test_a_name_is_stable_short_and_printable():
    assert variants.name({"b": 2, "a": "x"}) == "a=x b=2"
    assert variants.name({"a": ("x", "y")}) == "a=x,y"
    long = variants.name({"a": "x" * 1000, "b": "a b", "c": "\n"})
    assert len(long) < 100
    assert long == variants.name({"c": "\n", "b": "a b", "a": "x" * 1000})
    assert variants.name({}) == ""


def test_a_dependent_variant_is_skipped_and_failed_like_its_rule(tmp_path):
    needing = RULE.format(id="length", check=LENGTH).replace(
        "implementations:", "depends_on: [plain]\nimplementations:"
    )
    corpus = read(tmp_path, rules__length=needing)
    planned = plan(corpus, DEBIAN)
    answers = {p.id: Observation(exit=127) for p in planned.probes}
    ruling = judge(planned, DEBIAN, answers)["length"]
    (other,) = ruling.variants.values()
    assert ruling.verdict.status is other.verdict.status
    assert other.verdict.status in {Status.ERROR, Status.FAIL}


def test_a_setting_of_the_fleet_moves_no_benchmark_either(tmp_path):
    corpus = read(tmp_path)
    resolver = Resolver(corpus)
    settings = {"pam_pwquality_minlen": "8"}
    other = resolver.corpus("a", (), settings)
    (own,) = other.rules["length"].implementations
    assert own.check.parameters.expected == "8"
    assert counted(other) == counted(read(tmp_path / "file", variables__defaults=said(pam_pwquality_minlen=8)))  # fmt: skip
    assert set(other.variants["length"]) == {"pam_pwquality_minlen=14", "pam_pwquality_minlen=15"}  # fmt: skip
    assert other.problems == ()
    assert resolver.corpus("b", (), settings) is other
    assert resolver.corpus("a") is corpus
    back = resolver.corpus("a", (), {"pam_pwquality_minlen": "15"})
    assert back is corpus
