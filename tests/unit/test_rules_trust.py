"""Rules run as root on the fleet: only root may be able to write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from openwatch.cli import UsageError, corpus
from openwatch.errors import ConfigError
from openwatch.rules import trust

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "own rules"
    (folder / "rules").mkdir(parents=True)
    (folder / "rules" / "a.yml").write_text("id: a\n")
    for path in (folder, folder / "rules"):
        path.chmod(0o755)
    (folder / "rules" / "a.yml").chmod(0o644)
    return folder


def test_what_only_root_can_write_is_trusted(rules):
    assert trust.doubts_of(rules) == ()
    trust.require([rules])


@pytest.mark.parametrize("name", ["", "rules", "rules/a.yml"])
@pytest.mark.parametrize(
    ("mode", "owner", "why"),
    [
        (0o775, 0, "can be written by others (mode 0775)"),
        (0o757, 0, "can be written by others (mode 0757)"),
        (0o755, 65534, "belongs to user 65534, not to root"),
    ],
)
def test_anything_in_it_that_another_could_write_is_named_with_what_mends_it(
    rules, name, mode, owner, why
):
    (rules / name).chmod(mode)
    os.chown(rules / name, owner, 0)
    with pytest.raises(ConfigError) as refused:
        trust.require([rules])
    (problem,) = refused.value.problems
    assert problem == (
        f"{rules / name} {why}: chown -R root:root '{rules}' && chmod -R go-w,u=rwX '{rules}'"
    )


def test_a_directory_above_that_another_could_write_is_named(rules):
    rules.parent.chmod(0o777)
    (doubt,) = trust.doubts_of(rules)
    assert doubt == f"{rules.parent} can be written by others (mode 0777)"
    rules.parent.chmod(0o1777)  # as /tmp
    assert trust.doubts_of(rules) == ()


def test_a_link_is_as_good_as_what_it_leads_to(rules, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(rules)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (rules / "rules" / "more").symlink_to(elsewhere)
    assert trust.doubts_of(link) == ()
    os.chown(elsewhere, 65534, 0)
    (doubt,) = trust.doubts_of(link)
    assert doubt.startswith(f"{elsewhere} belongs to user 65534")


def test_a_list_of_doubts_ends(rules):
    for number in range(20):
        path = rules / "rules" / f"{number}.yml"
        path.write_text("")
        path.chmod(0o666)
    assert len(trust.doubts_of(rules)) == 5


def test_a_directory_that_is_not_there_is_for_the_loader_to_tell(tmp_path):
    assert trust.doubts_of(tmp_path / "none") == ()


def test_root_is_refused_what_anybody_else_is_warned_of(rules, monkeypatch, capsys):
    (rules / "rules" / "a.yml").chmod(0o666)
    words = {"--rules": [str(rules)], "--var": []}
    with pytest.raises(ConfigError):
        corpus.loaded(words)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert corpus.loaded(words).rules
    warned = capsys.readouterr().err
    assert "; it may be changed by others" in warned
    assert len(warned.splitlines()) == 1


def test_a_variable_of_the_command_line_needs_a_value():
    assert corpus.variables(["a=b=c", " d =", "e= f"]) == {"a": "b=c", "d": "", "e": " f"}
    for text in ("a", "=b", ""):
        with pytest.raises(UsageError, match="takes NAME=VALUE"):
            corpus.variables([text])
