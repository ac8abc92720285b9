"""A directory of rules as people and tools leave it: nothing in it is passed over in silence."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from openwatch.errors import ConfigError, RuleError
from openwatch.rules import load as loading
from openwatch.rules import trust

RULE = """\
id: {id}
title: t
description: d
rationale: r
severity: low
category: system
implementations: [{{default: true, check: {{method: file_exists, path: /x}}}}]
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@pytest.fixture
def own() -> Iterator[Path]:
    """A directory that everybody can reach, as /etc/openwatch/rules is."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "rules" / "inner").mkdir(parents=True)
    (folder / "variables" / "hosts").mkdir(parents=True)
    (folder / "variables" / "hosts" / "h.yml").write_text("variables: {}\n")
    for name in ("a", "inner/b"):
        written(folder, name)
    yield folder
    shutil.rmtree(folder)


def written(folder: Path, name: str) -> None:
    (folder / "rules" / f"{name}.yml").write_text(RULE.format(id=Path(name).name))


def problems(folder: Path) -> dict[str, str]:
    found = loading.read([folder], {}, strictly=False)
    return {str(Path(one.file).relative_to(folder.name)): one.message for one in found.problems}


def test_what_looks_like_a_document_and_is_none_is_named(own):
    rules = own / "rules"
    os.mkfifo(rules / "pipe.yml")
    (rules / "loop.yml").symlink_to("loop.yml")
    (rules / "gone.yml").symlink_to("/nothing/here")
    (rules / "UPPER.YML").write_text(RULE.format(id="upper"))
    (rules / "other.yaml").write_text(RULE.format(id="other"))
    (rules / "inner" / "up").symlink_to("..")
    (rules / "folder.yml").mkdir()
    assert problems(own) == {
        "rules/pipe.yml": "is not read: it is no regular file",
        "rules/loop.yml": "is not read: it leads to no file",
        "rules/gone.yml": "is not read: it leads to no file",
        "rules/UPPER.YML": "is not read: rename it to end in .yml",
        "rules/other.yaml": "is not read: rename it to end in .yml",
        "rules/inner/up": "is not read: links to directories are not followed;"
        " name the directory beside this one",
    }
    assert list(loading.read([own], {}).rules) == ["a", "b"]


def test_what_tools_keep_beside_the_documents_is_left_alone(own):
    """A checkout of git, and a volume whose files lead into a hidden directory."""
    for name in (".github/workflows/ci", "..2024_01/c"):
        (own / "rules" / name).parent.mkdir(parents=True)
        written(own, name)
    written(own, ".hidden")
    (own / "rules" / "..data").symlink_to("..2024_01")
    (own / "rules" / "c.yml").symlink_to("..data/c.yml")
    (own / "rules" / "a.yml~").write_text("not yaml: [")
    assert problems(own) == {}
    assert list(loading.read([own], {}).rules) == ["a", "b", "c"]


@needs_root
def test_links_that_lead_in_a_circle_are_trusted_as_what_they_lead_to(own):
    (own / "rules" / "loop.yml").symlink_to("loop.yml")
    (own / "rules" / "inner" / "up").symlink_to("..")
    assert trust.doubts_of(own) == ()
    os.chown(own / "rules" / "a.yml", 65534, 0)
    (doubt,) = trust.doubts_of(own)
    assert doubt.startswith(f"{own / 'rules' / 'a.yml'} belongs to user 65534")


@pytest.fixture
def nobody() -> Iterator[None]:
    os.seteuid(65534)
    yield
    os.seteuid(0)


@needs_root
@pytest.mark.parametrize("mode", [0o700, 0o744])
@pytest.mark.parametrize("name", ["", "rules", "rules/inner", "variables", "variables/hosts"])
def test_a_directory_that_this_account_cannot_list_is_named_and_refused(
    own, name, mode, request
):
    (own / name).chmod(mode)
    request.getfixturevalue("nobody")
    # Variables that cannot be seen leave values in doubt; rules that cannot are told.
    if name in {"", "variables", "variables/hosts"}:
        with pytest.raises(RuleError, match="cannot be listed"):
            loading.read([own], {})
    told = problems(own)
    assert any("cannot be listed" in message for message in told.values())
    assert (name or ".") in told
    doubt, *_ = trust.doubts_of(own)
    assert doubt == f"{own / name} cannot be listed by this program: chmod -R go+rX {own}"
    with pytest.raises(ConfigError):
        trust.require([own])


@needs_root
def test_a_directory_behind_a_closed_one_is_refused(own, request):
    inner = own / "rules" / "inner"
    (own / "rules").chmod(0o700)
    request.getfixturevalue("nobody")
    (doubt,) = trust.doubts_of(inner)
    assert doubt.startswith(f"{inner} cannot be looked at (Permission denied)")
    assert loading.read([inner], {}).problems[0].message.startswith("is not a directory")
