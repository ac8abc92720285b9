"""One walk over a host's own disks, which answers every question about files wherever they are.

The walk asks the kernel what is mounted where. It visits each local file system once, below the
mount that shows most of it, and nothing else: no network, pseudo or user-mounted file system, no
second view of the same files, no image store of a container engine, which root alone can enter.
Of btrfs every mounted subvolume is visited, one that is not mounted (a snapshot) is not.

Each line of the answer is one of

    walk PATH                        a mount that was visited
    skip TYPE PATH                   one that was not, although it holds files
    KIND MODE UID GID PATH           a match
    end CODE                         the last one: how `find` ended, 124 where the time was up

in which a path's line ends stand as the byte 1, so that no file's name can be taken for a line.
"""

from __future__ import annotations

import enum
import shlex

import msgspec

from openwatch.checks.types import Lane, Probe

SECONDS = 1200  # of the clock, for the whole walk


class Kind(enum.StrEnum):
    """What the walk looks for."""

    SUID = "suid"
    SGID = "sgid"
    WRITABLE_FILE = "writable_file"
    WRITABLE_DIRECTORY = "writable_directory"
    UNOWNED = "unowned"
    UNGROUPED = "ungrouped"
    NAMED = "named"


NAMES = (".rhosts", ".shosts", "hosts.equiv", "shosts.equiv", ".netrc", ".forward")
"""The file names that the walk looks for."""

STORES = (
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers/storage",
    "/var/lib/kubelet/pods",
    "/var/lib/lxc",
    "/var/lib/lxd",
    "/var/snap/lxd",
)
"""Where container engines keep images: the files of other systems, behind root's directories."""

REAL = (
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "reiserfs", "zfs"),
    *("bcachefs", "ubifs", "jffs2", "tmpfs"),
)
PSEUDO = (
    *("autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs"),
    *("devpts", "devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "overlay"),
    *("proc", "pstore", "ramfs", "rootfs", "rpc_pipefs", "securityfs", "selinuxfs"),
    *("smackfs", "squashfs", "sysfs", "tracefs"),
)

# The mounts to visit, each with the mounts below it that are not its own, as patterns for -path.
# Of two mounts that show the same files the one whose root is higher is visited, if nothing is
# mounted over them there. A btrfs subvolume is a file system of its own.
MOUNTS = r"""
function swapped(s, code, sign,  i, done) {
  while (i = index(s, code)) { done = done substr(s, 1, i - 1) sign; s = substr(s, i + length(code)) }
  return done s
}
function plain(s) { return swapped(swapped(swapped(s, "\\040", " "), "\\011", "\t"), "\\134", "\\") }
function pattern(s) { gsub(/[\\*?[]/, "\\\\&", s); return s }
function within(s, top) { return top == "/" || index(s, top "/") == 1 }
function shows(m, n,  q, k) {
  q = (point[m] == "/" ? "" : point[m]) substr(root[n], length(root[m] == "/" ? "" : root[m]) + 1)
  if (root[m] == root[n]) return 1
  for (k = 1; k <= NR; k++)
    if (top[point[k]] == k && point[k] != point[m] && within(point[k], point[m]) &&
        (q == point[k] || within(q, point[k]))) return 0
  return 1
}
{
  for (i = 7; i < NF && $i != "-"; i++);
  type[NR] = $(i + 1); device[NR] = $3; root[NR] = plain($4); point[NR] = plain($5); top[point[NR]] = NR
  if (length(root[NR]) > longest) longest = length(root[NR])
}
END {
  for (n = 1; n <= NR; n++) {
    if (top[point[n]] != n) continue
    stored = 0
    for (i = split(stores, store, " "); i > 0; i--)
      if (point[n] == store[i] || within(point[n], store[i])) stored = 1
    if (stored) continue
    if (point[n] !~ /\\012/ && (index(real, " " type[n] " ") || (type[n] == "overlay" && point[n] == "/"))) wanted[n] = 1
    else if (!index(pseudo, " " type[n] " ")) print "skip " type[n] " " point[n]
  }
  for (size = 1; size <= longest; size++) for (n = 1; n <= NR; n++) {
    if (!(n in wanted) || length(root[n]) != size) continue
    twice = 0
    for (m in chosen) {
      if (device[m] != device[n]) continue
      if ((root[m] == root[n] || (type[n] != "btrfs" && within(root[n], root[m]))) && shows(m, n)) twice = 1
    }
    if (!twice) chosen[n] = 1
  }
  for (n = 1; n <= NR; n++) if (n in chosen) {
    print "walk " point[n]
    for (m = 1; m <= NR; m++)
      if (top[point[m]] == m && m != n && point[m] != "/" && within(point[m], point[n])) print "below " pattern(point[m])
    print "go"
  }
}
"""

# `-type d -type f` is never true: after a match the next question is asked all the same.
_WALK = r"""
renice -n 19 -p $$ >/dev/null 2>&1
ionice -c 3 -p $$ >/dev/null 2>&1
read -r now x </proc/uptime
end=$((${now%%.*} + %(seconds)d))
gnu=; find / -prune -printf '' 2>/dev/null && gnu=y
flush=; [ "$gnu" ] && command -v stdbuf >/dev/null && flush='stdbuf -o0'
known() { getent "$1" 2>/dev/null || cat "/etc/$1"; }
users=; groups=; check=
if [ "$gnu" ]; then
  for i in $(cut -d: -f3 /etc/passwd | head -n 60); do case $i in *[!0-9]*) ;; *) users="$users ! -uid $i" ;; esac; done
  for i in $(cut -d: -f3 /etc/group | head -n 60); do case $i in *[!0-9]*) ;; *) groups="$groups ! -gid $i" ;; esac; done
  users="$users -nouser"; groups="$groups -nogroup"
else
  for i in $(known passwd | cut -d: -f3); do case $i in *[!0-9]*) ;; *) users="$users ! -user $i" ;; esac; done
  for i in $(known group | cut -d: -f3); do case $i in *[!0-9]*) ;; *) groups="$groups ! -group $i" ;; esac; done
fi
each='k=$1; shift; for f; do s=$(stat -c "%%a %%u %%g" -- "$f") && printf "%%s %%s %%s\0" "$k" "$s" "$f"; done'
set -f
visit() {
  if [ "$gnu" ]; then
    $limit $flush find "$start" -xdev -type d \( %(stores)s "$@" \) -prune -o %(gnu)s
  else
    $limit find "$start" -xdev -type d \( %(stores)s "$@" \) -prune -o %(other)s
  fi </dev/null
}
[ -r /proc/self/mountinfo ] || { echo '/proc/self/mountinfo: Permission denied' >&2; exit 126; }
awk -v real=%(real)s -v pseudo=%(pseudo)s -v stores=%(awk_stores)s %(mounts)s /proc/self/mountinfo | {
  code=0; walked=
  while IFS= read -r line; do
    case $line in
      walk\ *) start=${line#walk }; set --; printf '%%s\0' "$line" ;;
      skip\ *) printf '%%s\0' "$line" ;;
      below\ *) set -- "$@" -o -path "${line#below }" ;;
      go)
        read -r now x </proc/uptime
        left=$((end - ${now%%.*}))
        [ $left -gt 0 ] || { code=124; break; }
        limit=; command -v timeout >/dev/null && limit="timeout $left"
        visit "$@"; is=$?; walked=y
        [ $is -eq 0 ] || [ $code -eq 124 ] || code=$is ;;
    esac
  done
  [ "$walked" ] || { echo 'no local file system was found' >&2; [ $code -ne 0 ] || code=1; }
  printf 'end %%s\0' $code
} | tr '\n\000' '\001\n'
"""


def _expression(action: str, unowned: str, ungrouped: str) -> str:
    """Return the questions about one file; `action` holds KIND where the kind belongs."""
    names = " -o ".join(f"-name {shlex.quote(name)}" for name in NAMES)
    asked = {
        Kind.SUID: "-type f -perm -4000",
        Kind.SGID: "-type f -perm -2000",
        Kind.WRITABLE_FILE: "-type f -perm -0002",
        Kind.WRITABLE_DIRECTORY: "-type d -perm -0002",
        Kind.UNOWNED: unowned,
        Kind.UNGROUPED: ungrouped,
        Kind.NAMED: rf"\( {names} \)",
    }
    parts = [
        f"{tests} {action.replace('KIND', kind.value)} -type d -type f"
        for kind, tests in asked.items()
    ]
    return " -o ".join(parts)


def _script() -> str:
    return _WALK % {
        "seconds": SECONDS,
        "stores": " -o ".join(f"-path {shlex.quote(store)}" for store in STORES),
        "gnu": _expression(r"-printf 'KIND %m %U %G %p\0'", "$users", "$groups"),
        "other": _expression("""-exec sh -c "$each" sh KIND {} +""", "$users", "$groups"),
        "real": shlex.quote(f" {' '.join(REAL)} "),
        "pseudo": shlex.quote(f" {' '.join(PSEUDO)} "),
        "awk_stores": shlex.quote(" ".join(STORES)),
        "mounts": shlex.quote(MOUNTS),
    }


PROBE = Probe(
    _script(), isolated=True, lane=Lane.FILESYSTEM, seconds=SECONDS + 60.0, limit=1 << 20
)
"""The question, the same for every rule."""


class Match(msgspec.Struct, frozen=True):
    """A file that the walk was looking for."""

    mode: int
    user: str
    group: str
    path: str


class Walk(msgspec.Struct, frozen=True):
    """What a walk said. `ended` is None where its end did not arrive; some matches may be missing."""

    matches: dict[Kind, tuple[Match, ...]]
    skipped: tuple[str, ...]
    visited: tuple[str, ...]
    ended: int | None


def parse(stdout: bytes) -> Walk:
    """Read an answer; its last line counts only if it is whole. Raise ValueError for nonsense."""
    found: dict[Kind, dict[str, Match]] = {}
    skipped, visited = [], []
    ended = None
    for row in stdout.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        kind, _, rest = row.partition(" ")
        if kind == "walk":
            visited.append(rest)
        elif kind == "skip":
            skipped.append(rest.partition(" ")[2])
        elif kind == "end":
            ended = int(rest)
        else:
            mode, user, group, path = rest.split(" ", 3)
            found.setdefault(Kind(kind), {})[path] = Match(int(mode, 8), user, group, path)
    matches = {kind: tuple(files[p] for p in sorted(files)) for kind, files in found.items()}
    return Walk(matches, tuple(skipped), tuple(visited), ended)
