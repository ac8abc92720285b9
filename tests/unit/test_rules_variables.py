from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwatch.checks.command import Parameters as Command
from openwatch.checks.config_value import Parameters as Config
from openwatch.checks.mount_option import Parameters as Mount
from openwatch.errors import RuleError
from openwatch.rules import variables
from openwatch.rules.decode import Source, structure
from openwatch.rules.document import documents

NASTY = "a'b\"c `touch /x` $(id) $HOME ; rm -rf / \\ \n# x"


def decoded(text: str, wanted: type, **values: variables.Value) -> object:
    (node,) = documents(text.encode(), "r.yml")
    return structure(node, wanted, "the check", Source("r.yml", values), frozenset())


def shell(script: str) -> str:
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_there_are_51_with_their_types():
    assert len(variables.DEFAULTS) == 51
    assert variables.DEFAULTS["root_umask"] == "027"
    assert not str(variables.DEFAULTS["banner_text"]).endswith("\n")


def test_a_whole_scalar_takes_the_typed_value_quoted_or_not():
    for form in ("'{{ n }}'", "{{ n }}", '"{{n}}"'):
        got = decoded(f"{{run: x, expected_exit: {form}}}", Command, n=3)
        assert isinstance(got, Command)
        assert got.expected_exit == 3
    got = decoded("{mount_point: /x, options: '{{ o }}'}", Mount, o=("nodev", "noexec"))
    assert isinstance(got, Mount)
    assert got.options == ("nodev", "noexec")


def test_a_value_never_becomes_yaml():
    value = "x\nkey: other # no"
    got = decoded("path: /f\nkey: k\nexpected: '{{ v }}'\n", Config, v=value)
    assert isinstance(got, Config)
    assert (got.key, got.expected) == ("k", value)


def test_inside_a_text_the_value_is_inserted_and_a_list_joined():
    got = decoded(
        "{path: '/f/{{ v }}', key: k, expected: 'a {{ l }}'}", Config, v="x", l=("b", "c")
    )
    assert isinstance(got, Config)
    assert (got.path, got.expected) == ("/f/x", "a b,c")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{{ v }}/b", "x: y/b"),
        ("{{ v }} {{n}}", "x: y 3"),
        ("a{{ n }}{{ n }}", "a33"),
        ("[{{ v }}, {{n}}]", None),
        ("{{ v }} # a remark about {{ nothing }}", "x: y"),
        ("|\n  {{ v }}\n  {{ n }}\n", "x: y\n3\n"),
        (">-\n  {{ v }}\n  z\n", "x: y z"),
        ('"{{ v }}\\t{{ n }}"', "x: y\t3"),
    ],
)
def test_a_reference_may_stand_wherever_a_word_may(written, expected):
    text = f"path: /f\nkey: k\nexpected: {written}\n"
    if expected is None:
        with pytest.raises(RuleError, match="`expected` must be a text, found a list"):
            decoded(text, Config, v="x: y", n=3)
        return
    got = decoded(text, Config, v="x: y", n=3)
    assert isinstance(got, Config)
    assert got.expected == expected


@given(st.text(max_size=40))
def test_no_value_changes_what_a_document_says_beside_it(value):
    text = "path: /f\nexpected: {{ v }}{{ v }}\nkey: k\n"
    got = decoded(text, Config, v=value)
    assert got == Config("/f", "k", value + value)


def test_an_unknown_name_is_refused_with_its_line_and_the_nearest():
    with pytest.raises(
        RuleError, match=r"r.yml:3: unknown variable `mx`; did you mean `max`\?"
    ):
        decoded("path: /f\nkey: k\nexpected: '{{ mx }}'\n", Config, max=1)


@pytest.mark.parametrize(
    "script",
    [
        "printf %s {{ v }}",
        'printf %s "{{ v }}"',
        "printf %s {{v}} # it's {{ v }}",
        'printf %s "$(printf %s "{{ v }}")"',
        'x={{ v }}; printf %s "$x"',
        'printf %s "${v:-{{ v }}}"',
    ],
)
@settings(max_examples=15, deadline=None)
@given(
    value=st.text(
        st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), min_size=1
    )
)
def test_in_a_script_the_value_arrives_as_it_is(script, value):
    value = value.rstrip("\n") or "x"
    assert shell(variables.script(script, {"v": value}, "f", 1)) == value


def test_a_nasty_value_is_never_run_even_where_the_quotes_are_misjudged():
    script = 'case a in a) printf %s "$(case b in b) printf %s "{{ v }}";; esac)";; esac'
    assert "rm -rf" not in variables.script(script, {"v": NASTY}, "f", 1).split("\nc", 1)[-1]


def test_a_value_in_single_quotes_is_refused_where_it_could_be_a_program():
    assert variables.script("awk '$1 > {{ v }}'", {"v": 5}, "f", 1) == "awk '$1 > 5'"
    assert shell(variables.script("printf %s '{{ v }}'", {"v": "a b"}, "f", 1)) == "a b"
    with pytest.raises(RuleError, match="f:7: variable `v` stands in single quotes"):
        variables.script("awk '{{ v }}'", {"v": 'system("id")'}, "f", 7)


def test_a_value_behind_a_here_document_is_refused():
    with pytest.raises(RuleError, match="here-document"):
        variables.script("cat <<EOF\n{{ v }}\nEOF\n", {"v": "$(id)"}, "f", 1)


@pytest.mark.parametrize(
    ("given_value", "said"),
    [
        ({"ssh_max_sessions": True}, "must be text, a number or a list"),
        ({"root_umask": 27}, "put it in quotes"),
        ({"authorized_services": ["a b"]}, "has a comma or space"),
        ({"authorized_services": 3}, "list of words"),
        ({"a-b": "x"}, "variable name"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(given_value, said):
    with pytest.raises(RuleError, match=said):
        variables.resolve(given_value)


def test_given_values_win_and_lists_may_be_text():
    values = variables.resolve(
        {"ssh_max_sessions": "7", "authorized_services": "a, b", "own": "x"}
    )
    assert (values["ssh_max_sessions"], values["authorized_services"]) == (7, ("a", "b"))
    assert values["own"] == "x"
