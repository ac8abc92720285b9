"""The command line's grammar: what is accepted, and what a slip is told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwatch.cli import COMMANDS, UsageError, main
from openwatch.cli.arguments import parse
from openwatch.cli.usage import USAGE


def told(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(list(words), COMMANDS)
    return caught.value.message


@pytest.mark.parametrize(
    "line",
    [
        "",
        "serve",
        "serve --config /etc/openwatch/openwatch.toml",
        "--config /f --listen :1 --log-level debug serve",
        "--config=/f",
        "worker --poll-interval 2",
        "migrate --status",
        "create-admin --username a --email a@b",
        "create-admin --username a --email a@b --password-file f",
        "create-admin --password-stdin --email a@b --username a --config /f",
        "users list --json",
        "users reset-password alice --password-stdin",
        "users unlock alice --config /f",
        "users disable alice",
        "users enable alice",
        "users reset-mfa alice",
        "check-config --json",
        "check --local",
        "check -H web-1 -u root -k key -P 2222 --sudo -f stig -s high",
        "check -H web-1 --rule a --rule b -r d -r e --format json",
        "check -Hweb-1",
        "openapi",
        "--version",
        "--help",
        "-h",
    ],
)
def test_a_command_line_is_accepted(line: str) -> None:
    assert parse(line.split(), COMMANDS)


def test_repeated_options_keep_every_value() -> None:
    arguments = parse(["check", "--local", "--rule", "a", "--rule", "b", "-r", "d"], COMMANDS)
    assert arguments["--rule"] == ["a", "b"]
    assert arguments["--rules"] == ["d"]
    assert arguments["--format"] == "table"


def test_no_option_has_a_default_by_accident() -> None:
    arguments = parse(["serve"], COMMANDS)
    given = {name for name, value in arguments.items() if value not in (None, False, [])}
    assert given == {"serve", "--format"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("srve", "unknown command 'srve'; did you mean serve?"),
        ("serve --confg /f", "unknown option --confg; did you mean --config?"),
        ("-y", "unknown option -y"),
        ("serve --config", "--config needs a value"),
        ("check -H", "-H needs a value"),
        ("check --s x", "--s could be any of --severity, --status, --sudo"),
        ("check", "this is not how check is used"),
        ("check --local -H web-1", "this is not how check is used"),
        ("check --local --user root", "this is not how check is used"),
        ("create-admin --username a", "openwatch create-admin --username NAME"),
        ("serve extra", "this is not how serve is used"),
        ("worker --listen :1", "openwatch worker [--config FILE]"),
    ],
)
def test_a_slip_is_told_what_is_wrong(line: str, sentence: str) -> None:
    assert sentence in told(*line.split())


@pytest.mark.parametrize(
    "words",
    [
        ["create-admin", "--username", "a", "--email", "a@b", "--password", "hunter2hunter2"],
        ["create-admin", "--username", "a", "--email", "a@b", "--password=hunter2hunter2"],
        ["create-admin", "--username", "a", "--email", "a@b", "--pass", "hunter2hunter2"],
        ["users", "reset-password", "a", "--password", "hunter2hunter2"],
        ["check", "-H", "h", "--login-password", "hunter2hunter2"],
        ["check", "-H", "h", "--sudo", "--sudo-password=hunter2hunter2"],
        ["check", "-H", "h", "--passphrase", "hunter2hunter2"],
    ],
)
def test_a_password_on_the_command_line_is_refused_and_not_repeated(words: list[str]) -> None:
    sentence = told(*words)
    assert "every user" in sentence
    assert "hunter2" not in sentence


def test_the_usage_names_every_command() -> None:
    for command in COMMANDS:
        assert f"\n  {command} " in USAGE


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["check", "serve", "--local", "-H", "--config", "--", "-", "--x=1", "", "é"]
        )
        | st.text(max_size=8)
    )
)
def test_any_words_are_arguments_or_a_usage_error(words: list[str]) -> None:
    try:
        parse(words, COMMANDS)
    except UsageError as caught:
        assert caught.message  # noqa: PT017 - either outcome is right


def test_a_misuse_is_2_and_one_sentence_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["srve"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("openwatch: unknown command")


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "serve", interrupted)
    assert main([]) == 130


def test_a_defect_is_1_and_a_sentence_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setitem(COMMANDS, "serve", broken)
    assert main([]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("openwatch: unexpected ZeroDivisionError")
    assert "Traceback" not in shown


def test_the_version_needs_none_of_the_slow_imports() -> None:
    program = (
        "import sys; from openwatch.cli import main; code = main(['--version']);"
        "slow = {'msgspec', 'docopt', 'yaml', 'paramiko', 'pg8000', 'peewee', 'falcon'};"
        "print(sorted(slow & set(sys.modules))); sys.exit(code)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"
