"""What is sent to a host: the boot command, the detection line, and one script with every probe.

POSIX sh only; tried under dash, bash --posix and busybox. Nothing is written on the host. What
comes back is read by `scans.frames`; the two keep one protocol:

    NONCE hello FILTER PID GROUP SESSION START UPTIME SHELL     not compressed
    [ stdout NONCE SEQ EXIT UPTIME / stderr NONCE / ]...        through FILTER: gzip or cat
    NONCE bye / the output of `times` / NONCE end               not compressed

where / is a line end. The nonce is in a shell variable that is never exported.
"""

from __future__ import annotations

import math
import secrets
import shlex
import zlib
from collections.abc import Sequence

import msgspec

from openwatch.checks.types import Probe
from openwatch.ssh.types import Privilege

READY = "OW1"
"""What the boot shell prints when it is there."""

_FOLLOWS = b"OW1\n"
_PACKED_FOLLOWS = b"OW1z\n"
_GZIP_FORMAT = 31  # of zlib's wbits

STDERR_LIMIT = 8192
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The whole script is read before any of it runs, so that no probe can take it from stdin. Only
# single quotes around it and none inside, no ! and no backslash: any login shell passes it on.
_BOOT = (
    "command -v gzip >/dev/null && echo @READY@z; echo @READY@; while read -r l; do case $l in "
    'OW1) break;; OW1z) eval "$(gzip -dc)"; exit;; "D "*) eval "${l#D }";; esac; done; '
    'eval "$(cat)"'
)

_ASK = 'echo "$3 pid $$" >&2; exec env LC_ALL=C sudo -S -k -p "$1" sh -c "$2"'

# Names that a login environment may export are unset first: a variable that was exported stays so.
_HEAD = """\
unset ENV BASH_ENV CDPATH GZIP GREP_OPTIONS ow_n ow_s ow_r ow_u ow_x ow_E ow_P ow_H ow_l ow_t
IFS=' \t
'
LC_ALL=C PATH=@PATH@
export LC_ALL PATH
umask 077
cd /
exec 4>&2 2>/dev/null </dev/null
ow_n=@NONCE@
ow_c() {
if [ -e /proc/$1/task/$1/children ]; then
for ow_y in /proc/$1/task/*/children; do ow_l=; read -r ow_l <$ow_y; ow_q="$ow_q $ow_l"; done
else
for ow_y in /proc/[0-9]*/stat; do
ow_l=; read -r ow_l <$ow_y; set -- $1 ${ow_l##*) }; ow_y=${ow_y#/proc/}
[ "$3" = "$1" ] && ow_q="$ow_q ${ow_y%/stat}"
done
fi
}
ow_K() {
ow_a=
while set -- $ow_q; [ $# -gt 0 ]; do
ow_v=$1; shift; ow_q=$*
[ "$ow_v" = "$ow_m" ] && continue
kill -STOP $ow_v; ow_a="$ow_a $ow_v"; ow_c $ow_v
done
[ -n "$ow_a" ] && kill -KILL $ow_a
}
"""

# What an earlier shell of this scan left behind: its tree, then its process group and session.
_LEFTOVER = """\
ow_m=; ow_l=
[ -e /proc/@PID@/stat ] && read -r ow_l </proc/@PID@/stat
set -- ${ow_l##*) }
[ "${20}" = @START@ ] && { ow_q=@PID@; ow_K; }
for ow_y in /proc/[0-9]*/stat; do
ow_l=; read -r ow_l <$ow_y; set -- ${ow_l##*) }
[ "$3 $4" = "@GROUP@ @SESSION@" ] && [ "${20}" -ge @START@ ] || continue
ow_y=${ow_y#/proc/}; kill -KILL ${ow_y%/stat}
done
"""

_HELLO = """\
ow_l=; read -r ow_l </proc/$$/stat; set -- ${ow_l##*) }
renice -n 5 -p $$ >/dev/null; ionice -c 2 -n 7 -p $$ >/dev/null
ow_z=cat; @GZIP@
ow_e=$(readlink /proc/$$/exe); read -r ow_u ow_x </proc/uptime
printf '%s hello %s %s %s %s %s %s %s\\n' $ow_n ${ow_z%% *} $$ ${3:-0} ${4:-0} ${20:-0} ${ow_u:-0} "${ow_e##*/}"
"""
_GZIP = "command -v gzip >/dev/null && ow_z='gzip -1c'"

# fd 3: the reply; fd 4: the channel's standard error, for a sign of life each second.
# ow_p asks in a subshell with stdout straight on the reply. ow_i asks in a shell of its own, with
# stdout (through head, to fd 3), stderr (through head, to fd 5) and the exit code (to fd 6) each in a
# pipe that nothing else can write to.
_BODY = """\
exec 3>&1 >/dev/null
read -r ow_M ow_x </proc/self/stat
ow_s=0
ow_f() {
read -r ow_u ow_x </proc/uptime
printf '%s %s %s %s\\n%s%s\\n' $ow_n $ow_s "$ow_r" "$ow_u" "$ow_E" $ow_n >&3
case $ow_u in $ow_t.*) ;; *) ow_t=${ow_u%.*}; printf 'ow %s\\n' $ow_s >&4;; esac
ow_s=$((ow_s+1))
}
ow_p() { ow_E=$(eval "$ow_P" 2>&1 >&3 3>&- 4>&-); ow_r=$?; ow_f; }
ow_i() {
ow_E=$({ ow_r=$({ { { sh -c "$ow_P" 3>&- 4>&- 5>&- 6>&-; echo $? >&6; } | $ow_H >&3; } 2>&1 | $ow_B >&5; } 6>&1); } 5>&1; echo " $ow_r")
ow_r=$?
case $ow_r in 0) ow_r=${ow_E##* }; ow_E=${ow_E% *};; esac
ow_r=${ow_r:-137}
ow_f
}
ow_B='head -c 65536'; ow_h() { ow_H="head -c $1"; }
case $(printf ab | head -c 1) in a) ;; *) ow_B=cat; ow_h() { ow_H=cat; };; esac
ow_w() {
read -r ow_m ow_x </proc/self/stat
exec 3>&- 4>&-
ow_t=0; ow_o=
while sleep 1; do
ow_l=; read -r ow_l </proc/$ow_M/stat || return 0
set -- ${ow_l##*) }
case $8,$9 in $ow_o) ow_t=$((ow_t+1));; *) ow_t=0; ow_o=$8,$9;; esac
[ $ow_t -lt $ow_b ] || { ow_t=0; ow_q=; ow_c $ow_M; ow_K; }
done
}
ow_d() { [ -n "$ow_W" ] && { kill $ow_W; wait $ow_W; }; ow_W=; }
ow_g() { ow_d; ow_b=$1; ow_w & ow_W=$!; }
"""
_END = """\
} | $ow_z
printf '%s bye\\n' $ow_n; times; printf '%s end\\n' $ow_n
"""


class Cost(msgspec.Struct, frozen=True):
    """What asking has cost."""

    bytes_sent: int = 0
    bytes_received: int = 0
    compressed: bool = False
    resumes: int = 0
    channels: int = 0
    host_cpu_seconds: float = 0.0
    milliseconds: int = 0
    shell: str = ""


class Leftover(msgspec.Struct, frozen=True):
    """The shell of an earlier trip, as its hello told it."""

    pid: int
    group: int
    session: int
    start: int  # clock ticks since the host's boot


def new_nonce() -> bytes:
    """Return 128 random bits in hex with a prefix; a probe cannot print it."""
    return b"OW" + secrets.token_hex(16).encode()


def boot_command(privilege: Privilege, ready: str = READY, prompt: str = "") -> str:
    """Return the command for the login shell, which prints `ready` when it may be talked to.

    Before it comes `ready` with a z where the host can decompress what it is sent.
    sudo -S asks with `prompt`; before that `ready`, `pid` and its process id come on stderr.
    """
    boot = _BOOT.replace("@READY@", ready)
    if privilege is Privilege.SUDO:
        return f"env LC_ALL=C sudo -n sh -c '{boot}'"
    if privilege is Privilege.SUDO_PASSWORD:
        return f"sh -c '{_ASK}' sh {prompt} '{boot}' {ready}"
    return f"sh -c '{boot}'"


def takes_packed(seen: bytes, ready: bytes) -> bool:
    """Return whether what the boot shell printed says that its script may be compressed."""
    return ready + b"z\n" in seen


def sent(text: bytes, *, packed: bool) -> bytes:
    """Return a script as the boot shell is given it.

    A script of 50 kB fits into the first window of a connection when it is compressed, and needs
    two round trips more as it is.
    """
    if not packed:
        return _FOLLOWS + text
    return _PACKED_FOLLOWS + zlib.compress(text, 6, wbits=_GZIP_FORMAT)


def detection_line(line: str, nonce: bytes) -> bytes:
    """Return what makes the boot shell run `line` and print its output between two nonces."""
    if "\n" in line or "\0" in line:
        raise ValueError("a detection line is one line")
    mark = nonce.decode()
    return (
        f"D echo {mark}; (LC_ALL=C PATH={_PATH}; export LC_ALL PATH; umask 077; cd /; {line}"
        f") </dev/null 2>/dev/null; echo {mark}\n"
    ).encode("utf-8", "surrogateescape")


def in_order(probes: Sequence[Probe]) -> list[Probe]:
    """Return each probe once: ours before the isolated ones, equal budgets together."""
    unique = {probe.id: probe for probe in probes}
    return sorted(unique.values(), key=lambda p: (p.isolated, _seconds(p)))


def script(
    probes: Sequence[Probe],
    nonce: bytes,
    *,
    compress: bool = True,
    leftovers: Sequence[Leftover] = (),
) -> bytes:
    """Return the script that asks the probes in this order; their frames count from 0."""
    parts = [_HEAD.replace("@PATH@", _PATH).replace("@NONCE@", nonce.decode())]
    for old in leftovers:
        text = _LEFTOVER.replace("@PID@", str(old.pid)).replace("@GROUP@", str(old.group))
        parts.append(
            text.replace("@SESSION@", str(old.session)).replace("@START@", str(old.start))
        )
    parts.append(_HELLO.replace("@GZIP@", _GZIP if compress else ""))
    parts.append("{\n")
    parts.append(_BODY)
    budget = limit = 0
    for probe in probes:
        if _seconds(probe) != budget:
            budget = _seconds(probe)
            parts.append(f"ow_g {budget}\n")
        if probe.isolated and probe.limit != limit:
            limit = probe.limit
            parts.append(f"ow_h {limit + 1}\n")
        tier = "ow_i" if probe.isolated else "ow_p"
        parts.append(f"ow_P={shlex.quote(probe.script)}\n{tier}\n")
    parts.append("ow_d\n")
    parts.append(_END)
    return "".join(parts).encode("utf-8", "surrogateescape")


def _seconds(probe: Probe) -> int:
    """Return the budget in the watchdog's whole seconds."""
    return max(1, math.ceil(probe.seconds))
