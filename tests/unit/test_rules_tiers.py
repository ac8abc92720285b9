"""Variables: who says what, who wins, and what is refused."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from openwatch.errors import RuleError
from openwatch.rules import load as loading
from openwatch.rules.resolve import Resolver
from openwatch.rules.types import Corpus

RULE = """\
id: {id}
title: At least {{{{ pam_pwquality_minlen }}}} characters
description: What
rationale: Why
severity: medium
category: system
implementations:
  - default: true
    check: {check}
"""
LENGTH = (
    "{method: config_value, path: /etc/x, key: minlen, expected: '{{ pam_pwquality_minlen }}'}"
)
OWN = "{method: config_value, path: /etc/x, key: k, expected: '{{ our_own }}'}"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def said(**values: object) -> str:
    return "variables:\n" + "".join(f"  {name}: {value}\n" for name, value in values.items())


def read(
    folder: Path, files: dict[str, str], given: dict[str, object] | None = None, **how: bool
) -> Corpus:
    write(folder, {"rules/length.yml": RULE.format(id="length", check=LENGTH), **files})
    return loading.read([folder], given or {}, **how)


def expected(corpus: Corpus, rule: str = "length") -> str:
    return str(corpus.rules[rule].implementations[0].check.parameters.expected)


def test_each_tier_wins_over_those_below_it(tmp_path):
    files = {
        "variables/defaults.yml": said(pam_pwquality_minlen=16),
        "variables/conf.d/10-a.yml": said(pam_pwquality_minlen=17),
        "variables/conf.d/20-b.yml": said(pam_pwquality_minlen=18),
        "variables/groups/web.yml": said(pam_pwquality_minlen=19),
        "variables/groups/db.yml": said(pam_pwquality_minlen=20),
        "variables/hosts/web1.example.com.yml": said(pam_pwquality_minlen=21),
    }
    seen = []
    for number, upto in enumerate(range(len(files) + 1)):
        corpus = read(tmp_path / str(number), dict(list(files.items())[:upto]))
        assert corpus.problems == ()
        host = Resolver(corpus).corpus("Web1.Example.Com", ["web", "DB", "unheard-of"])
        seen.append(expected(host))
    assert seen == ["15", "16", "17", "18", "19", "20", "21"]
    corpus = read(tmp_path / "all", files, {"pam_pwquality_minlen": "22"})
    assert expected(corpus) == "22"
    assert expected(Resolver(corpus).corpus("web1.example.com", ["web"])) == "22"


def test_a_later_group_wins_and_a_later_directory_does(tmp_path):
    one = write(tmp_path / "one", {"rules/a.yml": RULE.format(id="length", check=LENGTH)})
    write(one, {"variables/groups/web.yml": said(pam_pwquality_minlen=16)})
    write(one, {"variables/groups/db.yml": said(pam_pwquality_minlen=17)})
    two = write(tmp_path / "two", {"variables/groups/db.yml": said(pam_pwquality_minlen=18)})
    resolver = Resolver(loading.read([one, two], {}))
    assert expected(resolver.corpus("h", ["web", "db"])) == "18"
    assert expected(resolver.corpus("h", ["db", "web"])) == "16"


def test_a_host_with_its_own_values_has_a_corpus_and_a_hash_of_its_own(tmp_path):
    other = {
        "rules/other.yml": RULE.format(id="other", check="{method: file_exists, path: /x}")
    }
    files = {**other, "variables/hosts/a.yml": said(pam_pwquality_minlen=30)}
    fleet = read(tmp_path, files)
    resolver = Resolver(fleet)
    assert resolver.corpus("b") is fleet
    own = resolver.corpus("a")
    assert own.hash != fleet.hash
    assert own.variables["pam_pwquality_minlen"] == 30
    assert own.rules["length"].title == "At least 30 characters"
    assert resolver.corpus("A") is own
    assert (
        read(tmp_path / "again", {**other, "variables/defaults.yml": said()}).hash == fleet.hash
    )


def test_a_value_that_changes_no_rule_changes_no_hash(tmp_path):
    files = {"variables/hosts/a.yml": said(ssh_max_sessions=3)}
    fleet = read(tmp_path, files)
    assert Resolver(fleet).corpus("a").hash == fleet.hash


def test_the_hash_stands_for_the_values_that_were_used(tmp_path):
    one = read(tmp_path / "one", {}, {"pam_pwquality_minlen": 20})
    two = read(tmp_path / "two", {}, {"pam_pwquality_minlen": 21})
    assert one.hash != two.hash
    assert b'"variables":{"pam_pwquality_minlen":20}' in one.document


def test_an_operator_may_have_variables_of_their_own(tmp_path):
    files = {
        "rules/own.yml": RULE.format(id="own", check=OWN),
        "variables/defaults.yml": said(our_own="text"),
        "variables/hosts/a.yml": said(our_own="other"),
    }
    corpus = read(tmp_path, files)
    assert corpus.problems == ()
    assert expected(corpus, "own") == "text"
    assert expected(Resolver(corpus).corpus("a"), "own") == "other"
    assert expected(loading.read([tmp_path], {"our_own": "third"}), "own") == "third"


@pytest.mark.parametrize(
    ("written", "line", "why"),
    [
        ("pam_pwquality_minlen: '15'", 2, "must be a whole number without quotes, found '15'"),
        ("pam_pwquality_minlen: 0x10", 2, "must be a whole number"),
        ("pam_pwquality_minlen: [15]", 2, "must be a whole number, found a list"),
        ("pam_pwquality_minlen: yes", 2, "must be a whole number"),
        ("root_umask: 027", 2, "must be text, found 027: put it in quotes"),
        ("root_umask: no", 2, "must be text, found no: put it in quotes"),
        ("root_umask:", 2, "must be text, found nothing"),
        ("root_umask: {a: b}", 2, "must be a number, a text or a list, found a mapping"),
        ("ssh_approved_ciphers: aes", 2, "`ssh_approved_ciphers` must be a list"),
        ("ssh_approved_ciphers: ['a,b']", 2, "cannot be a member"),
        ("our-own: 1", 2, "'our-own' is no name of a variable"),
    ],
)
def test_a_value_in_doubt_stops_the_load_and_is_named(tmp_path, written, line, why):
    files = {"variables/defaults.yml": f"variables:\n  {written}\n"}
    with pytest.raises(RuleError) as refused:
        read(tmp_path, files)
    assert f"variables/defaults.yml:{line}: " in refused.value.message
    assert why in refused.value.message
    listed = read(tmp_path, files, strictly=False)
    assert why in "".join(problem.message for problem in listed.problems)
    assert expected(listed) == "15"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("variables/defaults.yml", "variable: {}\n", "did you mean `variables`?"),
        ("variables/defaults.yml", "- a\n", "must be a mapping, found a list"),
        ("variables/hosts/a.yml", "variables: [", "not valid YAML"),
        ("variables/groups/a.yaml", "variables: {}\n", "name it so that it ends in .yml"),
        ("variables/default.yml", "variables: {}\n", "did you mean `defaults.yml`?"),
        ("variables/host/a.yml", "variables: {}\n", "did you mean `hosts`?"),
    ],
)
def test_a_file_that_would_not_be_read_as_meant_stops_the_load(tmp_path, name, text, why):
    with pytest.raises(RuleError, match=r"/variables/") as refused:
        read(tmp_path, {name: text})
    assert why in refused.value.message


def test_an_unknown_name_is_a_problem_with_the_nearest_one(tmp_path):
    corpus = read(tmp_path, {"variables/conf.d/a.yml": said(pam_pwqality_minlen=20)})
    (problem,) = corpus.problems
    assert (problem.line, expected(corpus)) == (2, "15")
    assert problem.file.endswith("variables/conf.d/a.yml")
    assert "`pam_pwqality_minlen`; did you mean `pam_pwquality_minlen`?" in problem.message


def test_the_command_line_may_set_only_what_some_rule_uses_and_of_its_type(tmp_path):
    with pytest.raises(RuleError, match="did you mean `pam_pwquality_minlen`"):
        read(tmp_path, {}, {"pam_pwqality_minlen": "20"})
    with pytest.raises(RuleError, match="must be a whole number"):
        read(tmp_path, {}, {"pam_pwquality_minlen": "many"})


def test_a_host_value_that_a_rule_refuses_is_an_error_for_that_host_alone(tmp_path):
    number = "{method: command, run: x, expected_exit: '{{ our_own }}'}"
    files = {
        "rules/own.yml": RULE.format(id="own", check=number),
        "variables/defaults.yml": said(our_own="'3'"),
        "variables/hosts/a.yml": said(our_own="many"),
    }
    resolver = Resolver(read(tmp_path, files))
    assert resolver.corpus("b").rules
    with pytest.raises(RuleError, match=r"own\.yml:9: .*must be a whole number"):
        resolver.corpus("a")


def test_a_setting_wins_over_the_files_and_loses_against_groups_and_hosts(tmp_path):
    files = {
        "variables/conf.d/10-a.yml": said(pam_pwquality_minlen=17),
        "variables/groups/web.yml": said(pam_pwquality_minlen=19),
        "variables/hosts/web1.yml": said(pam_pwquality_minlen=21),
    }
    resolver, settings = Resolver(read(tmp_path, files)), {"pam_pwquality_minlen": "18"}
    seen = [
        expected(resolver.corpus(host, groups, settings))
        for host, groups in (("x", ()), ("x", ("web",)), ("web1", ("web",)))
    ]
    assert seen == ["18", "19", "21"]
    given = Resolver(loading.read([tmp_path], {"pam_pwquality_minlen": "22"}))
    assert expected(given.corpus("x", (), settings)) == "22"
    with pytest.raises(RuleError, match="must be a whole number"):
        resolver.corpus("x", (), {"pam_pwquality_minlen": "long"})
    assert resolver.corpus("x", (), {"a_name_no_rule_has": "1"}) is resolver.corpus("x")
