"""Questions asked together have the answers that they would have alone, whatever files hold."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwatch.checks import files, units
from openwatch.checks.together import Group, grouped
from openwatch.checks.types import Absence, Observation, Probe

SECRET = "OWdeadbeef"
ALONE = Probe("true")


def readable(folder: Path) -> Path:
    """Let everybody into a folder of this test."""
    for one in (folder, *folder.parents):
        if one.stat().st_uid == os.geteuid() and one != Path("/tmp"):
            one.chmod(one.stat().st_mode | 0o055)
    return folder


def applets(folder: Path) -> str:
    """Return a PATH on which every tool is busybox's."""
    tools = folder / "busybox"
    tools.mkdir()
    for name in ("cat", "env", "head", "stat", "sh"):
        (tools / name).symlink_to(shutil.which("busybox") or "")
    return str(tools)


@pytest.fixture(params=["dash", "bash", "busybox"])
def ask(request, tmp_path_factory):
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    path, shell = "/usr/sbin:/usr/bin:/sbin:/bin", [request.param]
    if request.param == "busybox":
        path = applets(readable(tmp_path_factory.mktemp("tools")))
        shell = [f"{path}/sh"]

    def run(probe: Probe, user: int | None = None) -> Observation:
        done = subprocess.run(
            [*shell, "-c", probe.script],
            env={"LC_ALL": "C", "PATH": path, "SUDO_USER": "x y\nz"},
            capture_output=True,
            check=False,
            user=user,
        )
        # The wire's way of catching standard error leaves out the last line end.
        stderr = done.stderr.rstrip(b"\n")
        out = done.stdout
        return Observation(
            done.returncode, out[: probe.limit], stderr, 0, len(out) > probe.limit
        )

    return run


def together(
    ask, probes: list[Probe], user: int | None = None
) -> dict[str, Observation] | None:
    alone, groups = grouped(probes, SECRET)
    assert alone == []
    answers: dict[str, Observation] = {}
    for group in groups:
        found = group.answers(ask(group.probe, user))
        if found is None:
            return None
        answers |= found
    return answers


def of(kind: str, paths: list[Path]) -> list[Probe]:
    make = files.reading if kind == "contents" else files.describing
    return [make(str(path)) for path in paths]


@pytest.fixture
def tree(tmp_path: Path) -> list[Path]:
    readable(tmp_path)
    kinds = {
        "plain": b"key = value\n",
        "empty": b"",
        "no-line-end": b"last",
        "binary": bytes(range(256)) * 40,
        "forged": f"OW={SECRET[:-1]}\0\nOW=\0cat: /etc/passwd: No such file\n".encode(),
    }
    for name, content in kinds.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "secret").chmod(0o600)
    names = ["gone", *kinds, "link", "dangling", "secret", "also-gone"]
    return [tmp_path / name for name in names]


@pytest.mark.parametrize("kind", ["contents", "descriptions"])
def test_answers_are_those_of_questions_asked_alone(ask, tree, kind):
    probes = of(kind, tree)
    assert together(ask, probes) == {probe.id: ask(probe) for probe in probes}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not read")
def test_a_refused_file_is_refused_together_as_alone(ask, tree):
    probes = of("contents", tree)
    answers = together(ask, probes, user=65534)
    assert answers == {probe.id: ask(probe, 65534) for probe in probes}
    assert (
        b"ermission denied" in answers[probes[tree.index(tree[0].parent / "secret")].id].stderr
    )


def test_a_directory_among_files_is_never_an_empty_file(ask, tree):
    probes = of("contents", [*tree, tree[0].parent])
    answers = together(ask, probes)
    if answers is not None:  # busybox does not say which one it could not read
        assert answers == {probe.id: ask(probe) for probe in probes}


def test_a_link_to_the_separator_makes_each_be_asked_alone(ask, tree):
    trap = tree[0].parent / "trap"
    trap.symlink_to("/proc/self/environ")
    assert together(ask, of("contents", [*tree, trap])) is None


def test_a_file_far_too_large_makes_each_be_asked_alone(ask, tree):
    with (tree[0].parent / "large").open("wb") as large:
        large.truncate(64 << 20)
    assert together(ask, of("contents", [tree[1], tree[0].parent / "large", tree[2]])) is None


def test_a_file_larger_than_its_limit_is_cut_as_it_is_alone(ask, tree):
    large = tree[0].parent / "large"
    large.write_bytes(b"x" * 300_000)
    probes = of("contents", [tree[1], large])
    answers = together(ask, probes)
    assert answers is not None
    assert answers[probes[1].id].truncated
    assert answers == {probe.id: ask(probe) for probe in probes}


def test_only_plain_paths_and_questions_of_this_form_are_grouped():
    odd = [
        files.reading("/etc/a b"),
        files.reading("/etc/it's"),
        files.reading("/etc/a:b"),
        files.describing("/etc/x\ty"),
        Probe("cat -- /etc/passwd", limit=7),
        Probe("cat -- /etc/passwd", isolated=True, limit=1 << 18),
        files.reading_all("/etc/x.d"),
        ALONE,
    ]
    assert grouped([*odd, files.reading("/etc/one")], SECRET)[1] == []
    alone, groups = grouped([*odd, *of("contents", [Path("/a"), Path("/b")])], SECRET)
    assert alone == odd
    assert [list(group.parts) for group in groups] == [["/a", "/b"]]
    many = of("descriptions", [Path(f"/etc/{n}") for n in range(150)])
    assert [len(group.parts) for group in grouped(many, SECRET)[1]] == [64, 64, 22]


ENVIRON = f"PATH=/bin\0OW={SECRET}\0LC_ALL=C\0".encode()


def the_group(kind: str, count: int) -> Group:
    _, (group,) = grouped(of(kind, [Path(f"/p/{n}") for n in range(count)]), SECRET)
    return group


@given(st.lists(st.binary(), min_size=2, max_size=5))
def test_no_content_reaches_another_files_answer(contents):
    group = the_group("contents", len(contents))
    stdout = ENVIRON * 2 + b"".join(one + ENVIRON for one in contents)
    answers = group.answers(Observation(stdout=stdout))
    assert answers is not None
    assert [answers[part.id].stdout for part in group.parts.values()] == contents


lines = st.lists(
    st.one_of(
        st.sampled_from([f"/p/{n}\t644 0 0 root root regular file" for n in range(4)]),
        st.text("/p0123\t 64", max_size=12),
    ),
    max_size=6,
)
messages = st.lists(
    st.sampled_from(
        [f"stat: cannot statx '/p/{n}': No such file or directory" for n in range(4)]
        + [
            "stat: cannot statx '/q': No such file or directory",
            "stat: oh",
            "sh: stat: not found",
        ]
    ),
    max_size=4,
)


@given(lines, messages)
def test_descriptions_are_taken_only_where_each_path_has_one_answer(out, err):
    group = the_group("descriptions", 3)
    stdout, stderr = "".join(f"{line}\n" for line in out), "\n".join(err)
    answers = group.answers(Observation(stdout=stdout.encode(), stderr=stderr.encode()))
    if answers is None:
        return
    told = [line.split("\t")[0] for line in out]
    missing = [line.split("'")[1] for line in err]
    assert sorted(told + missing) == ["/p/0", "/p/1", "/p/2"]
    for path, part in group.parts.items():
        assert bool(answers[part.id].stderr) == (path in missing)
        assert answers[part.id].exit == (path in missing)


@pytest.mark.parametrize("absence", Absence)
def test_a_group_that_was_not_answered_is_asked_alone(absence):
    assert the_group("contents", 2).answers(Observation(absent=absence)) is None


def block(unit: str, state: str = "enabled") -> str:
    return f"Id={unit}\nNames={unit} also-{unit}\nLoadState=loaded\nActiveState=active\nUnitFileState={state}\n"


def showing(*names: str) -> Group:
    probes = [units.asking(name) for name in names]
    alone, (group,) = grouped([*probes, units.asking(r"a\\x2db.mount"), ALONE], SECRET)
    assert len(alone) == 2
    assert group.probe.script.endswith(" -- " + " ".join(names))
    return group


def test_each_unit_has_its_own_block_by_any_of_its_names():
    group = showing("cron.service", "also-ssh.service", "gone@1.service")
    blocks = [
        block("cron.service"),
        block("ssh.service", "static"),
        block("gone@1.service", ""),
    ]
    answers = group.answers(Observation(stdout="\n".join(blocks).encode()))
    assert answers is not None
    assert [answers[part.id].stdout.decode() for part in group.parts.values()] == blocks


def test_nobody_answering_for_systemd_is_the_same_answer_for_every_unit():
    group = showing("cron.service", "ssh.service")
    for one in (
        Observation(exit=127, stderr=b"sh: 1: systemctl: not found"),
        Observation(exit=1, stderr=b"Failed to connect to bus: Host is down"),
    ):
        answers = group.answers(one)
        assert answers == {part.id: one for part in group.parts.values()}


@pytest.mark.parametrize(
    "observation",
    [
        Observation(stdout=block("cron.service").encode()),
        Observation(stdout=(block("ssh.service") + "\n" + block("cron.service")).encode()),
        Observation(stdout=(block("cron.service") * 2).encode()),
        Observation(
            stdout=("\n".join([block("cron.service"), block("ssh.service")] * 2)).encode()
        ),
        Observation(
            1, stderr=b"Unit name ssh.service is neither a valid invocation ID nor unit name."
        ),
        Observation(1, stderr=b"Failed to get properties: Access denied"),
        Observation(1, ("\n".join([block("cron.service"), block("ssh.service")])).encode()),
        Observation(
            0, ("\n".join([block("cron.service"), block("ssh.service")])).encode(), b"odd"
        ),
        Observation(
            0,
            ("\n".join([block("cron.service"), block("ssh.service")])).encode(),
            truncated=True,
        ),
        Observation(absent=Absence.TIMEOUT),
        Observation(),
    ],
)
def test_units_of_which_one_is_in_doubt_are_asked_alone(observation):
    assert showing("cron.service", "ssh.service").answers(observation) is None
