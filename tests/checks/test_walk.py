"""The walk on real trees: in a mount namespace of its own, in the shells and with the tools hosts have."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from openwatch.checks import file_scan, walk
from openwatch.checks.types import Facts, Observation, Probe, Verdict
from openwatch.checks.walk import Kind, Walk
from openwatch.scans.collect import Conversation
from openwatch.ssh.local import local_session
from openwatch.ssh.types import Privilege

TOOLS = ("awk", "cat", "cut", "env", "find", "getent", "head", "sh", "stat", "timeout", "tr")
SHELLS = {
    "dash": ["/usr/bin/dash"],
    "bash": ["/usr/bin/bash", "--posix"],
    "busybox": ["/tools/sh"],
}
PLACES = """\
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 root "$R"
cd "$R"
mkdir -p dev proc usr etc tools tmp data/shared data/old mnt/twice mnt/part ramfs var/lib/docker usr
mknod -m 666 dev/null c 1 3
chmod 1777 tmp
for link in bin lib lib64 sbin; do ln -s usr/$link $link; done
mount -t overlay -o lowerdir=/usr:"$R"/tools tools usr
mount --bind /proc proc
mkdir etc/alternatives
ln -s "$(readlink -f "$(command -v awk)")" etc/alternatives/awk
printf 'root:x:0:0:::\\nanna:x:1000:1000:::\\n' >etc/passwd
printf 'root:x:0:\\nanna:x:1000:\\n' >etc/group
mount -t tmpfs -o mode=755 data data
mkdir data/shared data/old
mount -t tmpfs -o mode=755 hidden data/old
mount --bind data mnt/twice
mount --bind data/shared mnt/part
mount -t ramfs ramfs ramfs
"""


def _can_mount() -> str:
    """Say why a mount namespace cannot be had here, "" where it can."""
    if os.geteuid() != 0:
        return "needs root, to mount in a namespace of its own"
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else f"unshare -m: {done.stderr.decode().strip()}"


needs_mounts = pytest.mark.skipif(bool(_can_mount()), reason=_can_mount() or "can mount")


# A child's peak counts from the fork on, so it is started by something small.
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as told:
    told.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def peak_file(root: Path) -> Path:
    return root.with_name(f"{root.name}.peak")


@pytest.fixture(params=SHELLS)
def visit(request, tmp_path: Path) -> Callable[[str], tuple[Walk, Observation]]:
    """Make a tree by a script, in a root of its own, and walk it."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")

    def run(made: str, script: str = walk.PROBE.script) -> tuple[Walk, Observation]:
        path = "/usr/sbin:/usr/bin"
        links = ""
        if request.param == "busybox":
            path = "/tools"  # with nothing but busybox: no -printf, no -nouser, no stdbuf
            links = "".join(f"ln -s /usr/bin/busybox tools/{tool}\n" for tool in TOOLS)
        shell = shlex.join(SHELLS[request.param])
        inside = f"exec chroot . /usr/bin/env PATH={path} {shell} -c {shlex.quote(script)}"
        outer = ["unshare", "-m", "sh", "-c", f"{PLACES}{links}umask 022\n{made}\n{inside}"]
        done = subprocess.run(
            [sys.executable, "-IS", "-c", MEASURED, peak_file(tmp_path), *outer],
            env={"LC_ALL": "C", "PATH": os.environ["PATH"], "R": str(tmp_path)},
            capture_output=True,
            check=False,
        )
        answer = Observation(done.returncode, done.stdout, done.stderr.rstrip())
        return walk.parse(done.stdout), answer

    return run


def paths(found: Walk, kind: Kind) -> list[str]:
    return [match.path for match in found.matches.get(kind, ())]


EVERYTHING = r"""
put() { echo x >"$1"; chmod "$2" "$1"; }
put data/suid 4755; put data/sgid 2755; put data/both 6755
put data/open 646; put data/closed 640; put data/.rhosts 600
mkdir data/drop data/sticky data/of-anna
chmod 777 data/drop; chmod 1777 data/sticky data/of-anna; chown 1000 data/of-anna
put data/unowned 644; chown 4711 data/unowned; put data/ungrouped 644; chown :4711 data/ungrouped
ln -s nothing data/link; chown -h 4712:4712 data/link
put 'data/a *[b]? c' 646
mkdir -p 'data/x
suid 4755 0 0 /usr/bin'
put 'data/x
suid 4755 0 0 /usr/bin/passwd' 646
put data/old/suid 4755; put ramfs/suid 4755; put var/lib/docker/suid 4755
put data/shared/suid 4755
"""


@needs_mounts
def test_one_walk_finds_every_kind_once(visit):
    found, answer = visit(EVERYTHING)
    assert answer.stderr == b""
    assert found.ended == 0
    assert paths(found, Kind.SUID) == [
        "/data/both",
        "/data/old/suid",
        "/data/shared/suid",
        "/data/suid",
    ]
    assert paths(found, Kind.SGID) == ["/data/both", "/data/sgid"]
    forged = "/data/x\x01suid 4755 0 0 /usr/bin/passwd"
    assert paths(found, Kind.WRITABLE_FILE) == ["/data/a *[b]? c", "/data/open", forged]
    directories = {match.path: match.mode for match in found.matches[Kind.WRITABLE_DIRECTORY]}
    assert directories.pop("/data/drop") == 0o777
    assert directories.pop("/data/sticky") == directories.pop("/data/of-anna") == 0o1777
    assert directories.keys() <= {"/tmp"}
    assert paths(found, Kind.UNOWNED) == ["/data/link", "/data/unowned"]
    assert [match.user for match in found.matches[Kind.UNOWNED]] == ["4712", "4711"]
    assert paths(found, Kind.UNGROUPED) == ["/data/link", "/data/ungrouped"]
    assert paths(found, Kind.NAMED) == ["/data/.rhosts"]
    # Each local file system once: neither its second views, nor pseudo ones, nor image stores.
    assert found.visited == ("/", "/data", "/data/old")
    rows = answer.stdout.split(b"\n")
    assert len(rows) == len(set(rows))


@needs_mounts
def test_what_a_mount_hides_is_seen_where_it_is_shown(visit):
    """The bind mount shows what lies under a mount on the place that it was taken from."""
    made = "mkdir data/deep; echo >data/deep/suid; chmod 4755 data/deep/suid; mkdir mnt/deep\n"
    made += "mount --bind data/deep mnt/deep; mount -t ramfs r data/deep\n"
    found, _ = visit(made)
    assert paths(found, Kind.SUID) == ["/mnt/deep/suid"]


@needs_mounts
def test_a_mount_below_and_odd_names_of_mounts_are_no_trouble(visit):
    made = "mkdir 'data/a b' 'data/[c]*' data/c; mount -t tmpfs x 'data/a b'; mount -t ramfs x 'data/[c]*'\n"
    made += "for d in 'a b' '[c]*' c; do echo >\"data/$d/f\"; chmod 4755 \"data/$d/f\"; done\n"
    found, _ = visit(made)
    assert paths(found, Kind.SUID) == ["/data/a b/f", "/data/c/f"]
    assert "/data/a b" in found.visited


@needs_mounts
def test_the_time_being_up_is_said_and_what_was_found_stays(visit):
    """A budget of nothing: the first file system is not begun."""
    seconds = f"+ {walk.SECONDS}))"
    assert seconds in walk.PROBE.script
    found, answer = visit(EVERYTHING, walk.PROBE.script.replace(seconds, "+ 0))"))
    assert found.ended == 124
    parameters = file_scan.Parameters(what="unowned")
    verdict = file_scan.judge(parameters, Facts(), {walk.PROBE.id: answer})
    assert (verdict.status, verdict.reason) == ("error", "timed_out")


@needs_mounts
@pytest.mark.slow
def test_a_walk_that_is_stopped_keeps_what_it_has_found(visit, request):
    if "busybox" in request.node.name:
        pytest.skip("busybox's find prints what it has gathered at its end")
    slow = "mkdir data/z; cd data/z; i=0; while [ $i -lt 40 ]; do mkdir $i; i=$((i+1)); done; cd ../..\n"
    # A tool in find's place does what find does, and then does not end in time.
    made = (
        EVERYTHING
        + slow
        + "printf '#!/bin/sh\\n/usr/bin/find \"$@\"; sleep 12\\n' >tools/find; chmod 755 tools/find\n"
    )
    script = walk.PROBE.script.replace(f"+ {walk.SECONDS}))", "+ 2))")
    found, answer = visit(made, f"PATH=/tools:$PATH\n{script}")
    assert found.ended == 124
    assert "/data/suid" in paths(found, Kind.SUID) or found.visited == ("/",)
    verdict = _judged(answer, what="suid", authorized=("/x",))
    assert verdict.status == ("fail" if paths(found, Kind.SUID) else "error")


@needs_mounts
@pytest.mark.slow
def test_a_hundred_thousand_files_are_streamed(visit, tmp_path):
    """Neither the host nor we hold more than matches; what is kept of them has an end."""
    made = "mkdir data/many; cd data/many; seq 100000 | xargs touch; cd ../..; chmod -R o+w data/many\n"
    found, answer = visit(made)
    peak = int(peak_file(tmp_path).read_text())
    assert len(paths(found, Kind.WRITABLE_FILE)) == 100_000
    assert peak <= 60_000, f"{peak} KiB on the host"
    (tmp_path / "answer").write_bytes(answer.stdout)
    probe = Probe(f"cat {tmp_path}/answer", isolated=True, limit=walk.PROBE.limit)
    session = local_session("here")
    talk = Conversation(session, Privilege.NONE)
    talk.start()
    tracemalloc.start()
    got = talk.ask([probe]).observations[probe.id]
    _, held = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    session.close()
    assert got.truncated
    assert len(got.stdout) <= probe.limit
    assert held < 8 << 20, f"{held} bytes here"
    verdict = _judged(got, what="world_writable_file")
    assert (verdict.status, verdict.reason) == ("fail", "present")
    assert len(verdict.actual) <= 500
    assert _judged(got, what="unowned").reason == "truncated"


def _judged(answer: Observation, **parameters: object) -> Verdict:
    return file_scan.judge(
        file_scan.Parameters(**parameters),  # type: ignore[arg-type]
        Facts(),
        {walk.PROBE.id: answer},
    )


MOUNTS: Mapping[str, tuple[str, list[str]]] = {
    "remote and user mounts are named, pseudo ones are not": (
        (
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
            "2 1 0:5 / /proc rw - proc proc rw\n"
            "3 1 0:9 / /net rw shared:1 - nfs4 server:/x rw\n"
            "4 1 0:8 / /run/user/1000/doc rw - fuse.portal portal rw\n"
            "5 1 8:2 / /boot/efi rw - vfat /dev/sda2 rw\n"
        ),
        [
            "skip nfs4 /net",
            "skip fuse.portal /run/user/1000/doc",
            "skip vfat /boot/efi",
            "walk /",
        ]
        + [f"below {path}" for path in ("/proc", "/net", "/run/user/1000/doc", "/boot/efi")]
        + ["go"],
    ),
    "the later mount on a place hides the one before": (
        (
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /srv rw - ext4 /dev/sdb rw\n"
            "3 2 0:9 / /srv rw - nfs server:/x rw\n"
        ),
        ["skip nfs /srv", "walk /", "below /srv", "go"],
    ),
    "each btrfs subvolume is visited, a second mount of one is not": (
        (
            "1 0 0:30 /@ / rw - btrfs /dev/sda rw\n2 1 0:30 /@home /home rw - btrfs /dev/sda rw\n"
            "3 1 0:30 /@ /mnt rw - btrfs /dev/sda rw\n4 1 0:30 / /top rw - btrfs /dev/sda rw\n"
        ),
        [
            "walk /",
            "below /home",
            "below /mnt",
            "below /top",
            "go",
            "walk /home",
            "go",
            "walk /top",
            "go",
        ],
    ),
    "of two views the one of the whole is visited, wherever it is": (
        (
            "1 0 0:40 / / rw - overlay overlay rw\n2 1 8:1 /app /app rw - ext4 /dev/sda rw\n"
            "3 1 8:1 / /disk rw - ext4 /dev/sda rw\n4 1 8:1 /application /b rw - ext4 /dev/sda rw\n"
        ),
        ["walk /", "below /app", "below /disk", "below /b", "go", "walk /disk", "go"],
    ),
    "an image store is not visited, nor an overlay": (
        (
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:3 / /var/lib/docker rw - ext4 /dev/sdc rw\n"
            "3 2 0:50 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n"
            "4 1 0:51 / /merged rw - overlay overlay rw\n"
        ),
        [
            "walk /",
            "below /var/lib/docker",
            "below /var/lib/docker/overlay2/x/merged",
            "below /merged",
            "go",
        ],
    ),
    "names are plain again, and quoted as patterns": (
        "1 0 8:1 / / rw - xfs /dev/sda1 rw\n2 1 8:2 / /a\\040[b]*\\134c rw - xfs /dev/sdb rw\n",
        ["walk /", "below /a \\[b]\\*\\\\c", "go", "walk /a [b]*\\c", "go"],
    ),
    "a directory mounted on itself is visited once": (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:1 /srv /srv rw - ext4 /dev/sda1 rw\n",
        ["walk /", "below /srv", "go", "walk /srv", "go"],
    ),
}


@pytest.mark.parametrize("name", MOUNTS)
@pytest.mark.parametrize("awk", ["mawk", "gawk", "original-awk", "busybox"])
def test_the_mounts_to_visit(awk, name, tmp_path):
    if shutil.which(awk) is None:
        pytest.skip(f"{awk} is not installed")
    table, wanted = MOUNTS[name]
    (tmp_path / "mountinfo").write_text(table)
    command = ["busybox", "awk"] if awk == "busybox" else [awk]
    lists = {
        "real": f" {' '.join(walk.REAL)} ",
        "pseudo": f" {' '.join(walk.PSEUDO)} ",
        "stores": " ".join(walk.STORES),
    }
    given = [word for key, value in lists.items() for word in ("-v", f"{key}={value}")]
    done = subprocess.run(
        [*command, *given, walk.MOUNTS, str(tmp_path / "mountinfo")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == wanted
