from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from openwatch.errors import RuleError
from openwatch.rules import load as loading
from openwatch.rules.types import Corpus

RULE = """\
id: {id}
title: A title
description: What
rationale: Why
severity: medium
category: system
{more}implementations:
  - default: true
    check: {check}
"""


def rule(
    name: str = "a-rule", check: str = "{method: file_exists, path: /etc/x}", more: str = ""
) -> str:
    return RULE.format(id=name, check=check, more=more)


def read(folder: Path, given: dict[str, object] | None = None, **files: str) -> Corpus:
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(textwrap.dedent(text))
    return loading.read([folder], given or {})


def problem(corpus: Corpus) -> tuple[str, int, str]:
    (one,) = corpus.problems
    return Path(one.file).name, one.line, one.message


def test_the_embedded_corpus_loads_without_a_problem():
    corpus = loading.load()
    assert corpus.problems == ()
    assert len(corpus.rules) >= 40
    assert {"stig_rhel9", "stig_ubuntu24", "cis_debian12"} <= set(corpus.frameworks)


def test_a_file_may_hold_one_rule_several_documents_or_a_list(tmp_path):
    listed = "rules:\n" + textwrap.indent(rule("d"), "    ").replace("    id", "  - id", 1)
    corpus = read(tmp_path, one=rule("a"), two=rule("b") + "---\n" + rule("c"), three=listed)
    assert corpus.problems == ()
    assert list(corpus.rules) == ["a", "b", "c", "d"]


def test_a_bad_document_is_named_and_the_rest_loads(tmp_path):
    bad = rule("b").replace("severity: medium", "severity: medum")
    corpus = read(tmp_path, rules=rule("a") + "---\n" + bad + "---\n" + rule("c"))
    assert list(corpus.rules) == ["a", "c"]
    assert problem(corpus) == (
        "rules.yml",
        15,
        (
            "`severity` must be one of low, medium, high, critical, found 'medum'; "
            "did you mean `medium`?"
        ),
    )


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            rule(more="severty: low\n"),
            7,
            "unknown key `severty` in a rule; did you mean `severity`?",
        ),
        (rule().replace("title:", "titel:"), 2, "did you mean `title`?"),
        (rule().replace("rationale: Why\n", ""), 1, "the rule has no `rationale`"),
        (
            rule().replace("    check", "    chek"),
            9,
            "unknown key `chek` in an implementation; did you mean `check`?",
        ),
        (rule(check="{method: file_exist, path: /x}"), 9, "did you mean `file_exists`?"),
        (
            rule(check="{method: file_exists, paht: /x}"),
            9,
            "unknown key `paht` in check method `file_exists`; did you mean `path`?",
        ),
        (rule(check="{method: file_exists}"), 9, "check method `file_exists` has no `path`"),
        (rule(check="{method: file_exists, path: etc}"), 9, "must be an absolute path"),
        (rule(check="{path: /x}"), 9, "the check has no `method`"),
        (rule(check="{checks: []}"), 9, "`checks` is empty"),
        (rule(check="/x"), 9, "`check` must be a mapping, found a scalar"),
        (
            rule(check="{method: service_state, name: x, enabled: 'true'}"),
            9,
            "`enabled` must be true or false without quotes",
        ),
        (
            rule(check="{method: command, run: x, expected_exit: '0'}"),
            9,
            "`expected_exit` must be a whole number",
        ),
        (
            rule(check="{method: command, run: x, expected_exit: 0o7}"),
            9,
            "`expected_exit` must be a whole number",
        ),
        (
            rule(check="{method: command, run: x, expected_stdout: }"),
            9,
            "`expected_stdout` must be a text, found nothing",
        ),
        (rule(check="{method: command}"), 9, "give one of `run` and `cmd`"),
        (
            rule(check="{method: sysctl_value, key: a.b, expected: 1, comparator: =>}"),
            9,
            "`comparator` must be one of",
        ),
        (
            rule(check="{method: package_state, name: x, state: installed}"),
            9,
            "`state` must be one of present, absent",
        ),
        (
            rule(check="{method: mount_option, mount_point: /x, options: nodev}"),
            9,
            "`options` must be a list",
        ),
        (rule(check="{method: file_permission, path: /x, mode: u+x}"), 9, "octal digits"),
        (rule(check="{method: file_permission, path: /x}"), 9, "at least one of"),
        (
            rule(more="platforms: [{family: rhel, min_verson: 9}]\n"),
            7,
            "did you mean `min_version`?",
        ),
        (rule(more="platforms: []\n"), 7, "leave it out"),
        (rule(more="references: {cis: {rhel9: }}\n"), 7, "reference `cis.rhel9` is empty"),
        (rule(more="references: {nist_800_53: []}\n"), 7, "reference `nist_800_53` is empty"),
        (
            rule(more="depends_on: [b-rule]\n"),
            1,
            "names `b-rule`, which is no rule; did you mean `a-rule`?",
        ),
        (rule(more="title: again\n"), 7, "key `title` is given twice (first in line 2)"),
        (
            rule() + "  - {default: true, check: {method: file_exists, path: /x}}\n",
            10,
            "second implementation",
        ),
        (
            rule() + "  - {when: gdn, check: {method: file_exists, path: /x}}\n",
            10,
            "unknown capability `gdn`; did you mean `gdm`?",
        ),
        (
            rule()
            + "  - {when: {all: [gdm], any: [gdm]}, check: {method: file_exists, path: /x}}\n",
            10,
            "one of `all`, `any`, `not`",
        ),
        (
            rule() + "    remediation: {mechanism: sysctl_se, key: a}\n",
            10,
            "did you mean `sysctl_set`?",
        ),
        (
            rule() + "    remediation: {mechanism: sysctl_set, key: a}\n",
            10,
            "mechanism `sysctl_set` has no `value`",
        ),
        (rule() + "   bad: indent\n", 10, "not valid YAML"),
        (rule() + "more: !!python/object:os.system {}\n", 10, "YAML tag"),
        ("[" * 5000, 1, "nested deeper"),
        ("- a rule\n", 1, "must be a mapping, found a list"),
        ("just words\n", 1, "must be a mapping"),
        ("id: é\x00\n", 1, ""),
    ],
)
def test_a_mistake_says_where_it_is_what_was_expected_and_what_is_near(
    tmp_path, text, line, said
):
    name, at, message = problem(read(tmp_path, bad=text))
    assert said in message
    assert name == "bad.yml"
    if said:
        assert at == line


def test_words_of_yaml_stay_words_where_a_word_is_wanted(tmp_path):
    corpus = read(
        tmp_path,
        a=rule("a", "{method: sshd_effective_config, key: x, expected: no}"),
        b=rule("b", "{method: file_permission, path: /x, mode: 0640, owner: 0}"),
        c=rule("c", "{method: service_state, name: x, enabled: no}"),
    )
    assert corpus.problems == ()
    got = {name: r.implementations[0].check.parameters for name, r in corpus.rules.items()}
    assert got["a"].expected == "no"
    assert (got["b"].mode, got["b"].owner) == ("0640", "0")
    assert got["c"].enabled is False


def test_a_second_rule_of_the_same_id_is_refused_and_the_first_kept(tmp_path):
    corpus = read(tmp_path, a=rule("same"), b=rule("same"))
    assert "exists already at" in problem(corpus)[2]
    assert "a.yml:1" in problem(corpus)[2]
    assert list(corpus.rules) == ["same"]


def test_a_directory_that_is_not_there_and_a_file_that_is_not_read_are_named(tmp_path):
    (tmp_path / "a.yaml").write_text(rule())
    corpus = loading.read([tmp_path, tmp_path / "none"], {})
    assert [p.message for p in corpus.problems] == [
        "is not read: rename it to end in .yml",
        "is not a directory: mend `rules.directories`",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.yml").write_text(rule())
    (tmp_path / "a.yml").chmod(0)
    assert "cannot be read" in problem(loading.read([tmp_path], {}))[2]


def test_an_oversize_file_and_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "a.yml").write_bytes(b"#" * ((1 << 20) + 1))
    (tmp_path / "b.yml").write_bytes(b"id: x\ntitle: \xff\n")
    big, bad = loading.read([tmp_path], {}).problems
    assert "the limit is" in big.message
    assert (bad.line, "UTF-8" in bad.message) == (2, True)


def test_a_yaml_bomb_is_refused_quickly(tmp_path):
    rows = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        rows.append(f"{name}: &{name} [{','.join(['*' + before] * 9)}]")
    assert "nodes once expanded" in problem(read(tmp_path, bomb="\n".join(rows)))[2]


def test_an_anchor_may_be_used_again_but_not_inside_itself(tmp_path):
    text = rule(check="&c {method: file_exists, path: /x}") + "  - {when: gdm, check: *c}\n"
    assert read(tmp_path, a=text).problems == ()
    (tmp_path / "a.yml").unlink()
    assert "no complete anchor" in problem(read(tmp_path, b="a: &x [*x]"))[2]


def test_a_merge_key_puts_an_anchor_below_the_own_keys(tmp_path):
    base = "&base {method: file_permissions, path: /etc/a, mode: '0644'}"
    other = "  - when: gdm\n    check: {<<: [*base, {path: /b, owner: root}], mode: '0600'}\n"
    corpus = read(tmp_path, a=rule(check=base) + other)
    assert corpus.problems == ()
    first, second = (one.check.parameters for one in corpus.rules["a-rule"].implementations)
    assert (first.path, first.mode, first.owner) == ("/etc/a", "0644", None)
    assert (second.path, second.mode, second.owner) == ("/etc/a", "0600", "root")
    assert "`<<` must be a mapping" in problem(read(tmp_path, a="<<: [x]\n"))[2]


def test_the_tags_that_yaml_has_itself_may_be_written(tmp_path):
    check = "!!map {method: !!str command, run: !!str 0644, expected_exit: !!int '3'}"
    corpus = read(tmp_path, a=rule(check=check))
    assert corpus.problems == ()
    (one,) = corpus.rules["a-rule"].implementations
    assert (one.check.parameters.run, one.check.parameters.expected_exit) == ("0644", 3)
    (tmp_path / "a.yml").unlink()
    for tag in ("!!python/object:os.system", "!!binary", "!own"):
        text = rule().replace("title: A title", f"title: {tag} eHg=")
        assert "is not used here" in problem(read(tmp_path, a=text))[2]


def test_circles_are_named(tmp_path):
    corpus = read(
        tmp_path,
        a=rule("a", more="depends_on: [b]\n"),
        b=rule("b", more="depends_on: [a]\n"),
        c=rule("c", more="depends_on: [a]\n"),
    )
    assert [p.message for p in corpus.problems] == [
        "`a`: its `depends_on` leads back to itself",
        "`b`: its `depends_on` leads back to itself",
    ]


def test_the_hash_changes_with_what_can_change_a_verdict_and_with_nothing_else(tmp_path):
    def hash_of(text: str, given: dict[str, object] | None = None) -> bytes:
        return read(tmp_path, given, a=text).hash

    check = "{method: sysctl_value, key: a.b, expected: '{{ ssh_max_sessions }}'}"
    base = hash_of(rule(check=check))
    assert hash_of(rule(check=check).replace("A title", "Another")) == base
    assert hash_of("# a remark\n" + rule(check=check)) == base
    assert hash_of(rule(check=check), {"ssh_max_sessions": 9}) != base
    assert hash_of(rule(check=check), {"ssh_max_auth_tries": 9}) == base
    assert hash_of(rule(check=check).replace("medium", "high")) != base


def test_a_bad_variable_stops_the_load(tmp_path):
    with pytest.raises(RuleError, match="must be a whole number"):
        read(tmp_path, {"ssh_max_sessions": "many"}, a=rule())
