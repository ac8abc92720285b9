"""The configuration: layers, origins, and what each mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwatch import config
from openwatch.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def write(folder: Path, text: str) -> Path:
    file = folder / "openwatch.toml"
    file.write_text(text)
    file.chmod(0o640)
    return file


def refused(folder: Path, text: str = "", **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        config.load(write(folder, text), environ)
    return caught.value.problems or (caught.value.message,)


def test_without_a_file_everything_is_the_default() -> None:
    loaded = config.load(environ={})
    assert loaded.config == config.Config()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.warnings == ()
    assert loaded.file == ""


def test_defaults_are_those_the_operator_knows() -> None:
    known = {o.name: o.default for o in config.OPTIONS}
    assert known["server.listen"] == "0.0.0.0:8443"
    assert known["server.tls_cert"] == "/etc/openwatch/tls/cert.pem"
    assert known["database.max_connections"] == 25
    assert known["identity.credential_key_file"] == "/etc/openwatch/keys/credential.key"
    assert known["scan.allow_local"] is False


def test_every_default_is_a_value_its_own_option_accepts() -> None:
    for option in config.OPTIONS:
        value = list(option.default) if option.is_list else option.default
        assert option.read(value, text=False) == option.default, option.name


def test_every_option_has_a_sentence_an_expectation_and_a_variable() -> None:
    for option in config.OPTIONS:
        assert option.about.doc.endswith("."), option.name
        assert option.expects, option.name
        assert option.variable == f"OPENWATCH_{option.section}_{option.key}".upper()


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[server]\nlisten = "a:1"\nworkers = 2\nthreads = 3\n')
    environ = {"OPENWATCH_SERVER_LISTEN": "b:2", "OPENWATCH_SERVER_WORKERS": "4"}
    loaded = config.load(file, environ, {"server.listen": ("--listen", "c:3")})
    assert loaded.config.server.listen == "c:3"
    assert loaded.config.server.workers == 4
    assert loaded.config.server.threads == 3
    assert loaded.origins["server.listen"] == "flag --listen"
    assert loaded.origins["server.workers"] == "environment OPENWATCH_SERVER_WORKERS"
    assert loaded.origins["server.threads"] == f"file {file}:4"
    assert loaded.origins["server.tls_key"] == "default"


def test_lists_come_from_arrays_and_from_commas(tmp_path: Path) -> None:
    file = write(tmp_path, '[rules]\ndirectories = ["/a", "/b"]\n')
    loaded = config.load(file, {"OPENWATCH_SERVER_TRUSTED_PROXIES": "10.0.0.0/8, ::1,"})
    assert loaded.config.rules.directories == ("/a", "/b")
    assert loaded.config.server.trusted_proxies == ("10.0.0.0/8", "::1")


def test_an_empty_variable_counts_as_unset() -> None:
    loaded = config.load(environ={"OPENWATCH_SERVER_LISTEN": ""})
    assert loaded.origins["server.listen"] == "default"


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, '\n[server]\n# here\nlissten = "a:1"\n')
    assert problem.endswith(":4: unknown key server.lissten; did you mean server.listen?")


def test_an_unknown_section_is_refused_with_the_nearest_section(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "[servr]\nworkers = 2\n")
    assert problem.endswith(":1: unknown section [servr]; did you mean server?")


def test_a_key_outside_its_section_says_where_it_belongs(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, 'listen = "a:1"\n')
    assert "listen" in problem
    assert "[server]" in problem


def test_an_unknown_variable_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, OPENWATCH_SERVER_WORKER="2")
    assert "unknown variable OPENWATCH_SERVER_WORKER" in problem
    assert "did you mean OPENWATCH_SERVER_WORKERS?" in problem


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = '[server]\nworkers = "two"\nlisten = "nowhere"\n[logging]\nlevel = "loud"\n[x]\n'
    problems = refused(tmp_path, text, OPENWATCH_DATABASE_MAX_CONNECTIONS="many")
    assert len(problems) == 5
    assert any(":2: server.workers must be a whole number from 0 to 64" in p for p in problems)
    assert any("one of debug, info, warn, error, not 'loud'" in p for p in problems)
    assert any("environment OPENWATCH_DATABASE_MAX_CONNECTIONS" in p for p in problems)


@pytest.mark.parametrize(
    "line",
    [
        'server.listen = ""',
        'server.listen = "host"',
        'server.listen = "host:99999"',
        'server.listen = "::1:8443"',
        'server.listen = "[nonsense]:8443"',
        "server.listen = 8443",
        "server.workers = true",
        "server.workers = -1",
        "server.workers = 1.5",
        'server.workers = "2"',
        'server.trusted_proxies = "10.0.0.1"',
        'server.trusted_proxies = ["proxy"]',
        'server.tls_cert = ""',
        'server.tls_cert = "cert.pem"',
        'database.statement_timeout = "30"',
        "database.statement_timeout = 30",
        'database.dsn = "mysql://x"',
        'database.dsn = ""',
        "scan.allow_local = 1",
        'scan.allow_local = "true"',
        "scan.budget_seconds = nan",
        "scan.budget_seconds = inf",
        'rules.directories = ["relative"]',
        'logging.format = "xml"',
        "server = 3",
        "[[server]]",
    ],
)
def test_a_wrong_value_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    (problem,) = refused(tmp_path, f"# first\n{line}\n")
    assert "openwatch.toml:2: " in problem
    assert " must be " in problem


@pytest.mark.parametrize("text", ["0.0.0.0:8443", "[::]:8443", "localhost:0", ":8443", "*:1"])
def test_an_address_is_accepted_and_split(text: str) -> None:
    host, port = config.address(text)
    assert port == int(text.rsplit(":", 1)[1])
    assert not host.startswith("[")


def test_a_wrong_dsn_is_refused_without_printing_it(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, '[database]\ndsn = "mysql://u:topsecret@h/d"\n')
    assert "topsecret" not in problem
    assert "postgres://" in problem


def test_the_configuration_does_not_show_the_dsn_when_printed() -> None:
    loaded = config.load(environ={"OPENWATCH_DATABASE_DSN": "postgres://u:topsecret@h/d"})
    assert loaded.config.database.dsn.endswith("@h/d")
    assert "topsecret" not in repr(loaded)


def test_a_file_that_is_not_toml_names_the_line(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "[server]\nlisten = = 3\n")
    assert "openwatch.toml:2: is not TOML" in problem


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "[server]\nworkers = 1\nworkers = 2\n")
    assert "is not TOML" in problem


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "openwatch.toml"
    file.write_bytes(b'[server]\nlisten = "\xff:1"\n')
    with pytest.raises(ConfigError, match=r"toml:2: is not UTF-8"):
        config.load(file, {})


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: there is no such file"):
        config.load(tmp_path / "gone.toml", {})


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path, {})


def test_what_means_nothing_here_is_accepted_and_reported(tmp_path: Path) -> None:
    file = write(tmp_path, '[reports]\nsigning_key_file = "/k"\n')
    loaded = config.load(file, {"OPENWATCH_LICENSE_FILE": "/x", "OPENWATCH_DEV_MODE": "true"})
    assert loaded.config == config.Config()
    assert loaded.warnings == (
        f"{file}:2: reports.signing_key_file has no effect in this version",
        "environment: OPENWATCH_DEV_MODE has no effect in this version",
        "environment: OPENWATCH_LICENSE_FILE has no effect in this version",
    )


def test_a_variable_of_a_command_is_no_mistake() -> None:
    assert config.load(environ={"OPENWATCH_SSH_PASSWORD": "x"}).warnings == ()


def test_variables_of_others_are_not_ours() -> None:
    assert config.load(environ={"OPENWATCHER": "x", "PATH": "/bin"}).warnings == ()


def test_a_password_in_a_file_that_everyone_can_read_is_reported(tmp_path: Path) -> None:
    file = write(tmp_path, '[database]\ndsn = "postgres://u:secret@h/d"\n')
    assert config.load(file, {}).warnings == ()
    file.chmod(0o644)
    (warning,) = config.load(file, {}).warnings
    assert "chmod o-r" in warning
    assert "secret@" not in warning


def test_lines_survive_quotes_dots_and_inline_tables(tmp_path: Path) -> None:
    text = 'logging = {level = "debug"}\n["server"] # x\n"workers"=3\n[database]\nmax_connections=9\n'
    file = write(tmp_path, text)
    origins = config.load(file, {}).origins
    assert origins["logging.level"] == f"file {file}:1"
    assert origins["server.workers"] == f"file {file}:3"
    assert origins["database.max_connections"] == f"file {file}:5"


def test_the_page_in_docs_is_the_table() -> None:
    assert PAGE.read_text() == config.markdown(), (
        "docs/configuration.md is old: write openwatch.config.markdown() into it"
    )


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_any_text_in_a_variable_is_a_value_or_one_clear_error(text: str) -> None:
    for option in config.OPTIONS:
        try:
            config.load(environ={option.variable: text})
        except ConfigError as caught:
            assert option.name in caught.message  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 20_000,
        "a = " + "{a=" * 5_000 + "1" + "}" * 5_000,
        "[server]\nthreads = " + "9" * 5_000,
        ".".join("a" * 20_000) + " = 1",
        "#" * 100_000,
    ],
    ids=["lists", "tables", "number", "dots", "size"],
)
def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path, text: str) -> None:
    file = tmp_path / "openwatch.toml"
    (problem,) = refused(tmp_path, text)
    assert problem.startswith(str(file))
    assert len(problem) < 300


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="larger than"):
        config.load("/dev/zero", environ={})


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        (
            "syslog",
            ["", "tls://log.example:6514", "tcp://[::1]:601", "udp://192.0.2.1"],
            ["log.example", "https://x", "tls://", "tls://a:99999", "tls://a/b", "tls://u@a"],
        ),
        (
            "webhook_url",
            ["", "https://example.com", "https://example.com:8443/a?b=c"],
            ["http://example.com", "https://", "https://u:p@example.com/", "https://a b/"],
        ),
    ],
)
def test_receivers_of_the_trail_are_addresses(
    option: str, good: list[str], bad: list[str]
) -> None:
    found = next(o for o in config.OPTIONS if o.name == f"audit.{option}")
    for text in good:
        assert found.read(text, text=True) == text
    for text in bad:
        with pytest.raises(ValueError, match="or nothing"):
            found.read(text, text=True)
