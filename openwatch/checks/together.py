"""Several questions about files or units in one process, answered as if each had been asked alone.

A question of its own costs a host two forks and a millisecond; these cost as good as nothing more.
What a host prints is taken for the answers only where it can be nothing else: whatever is missing,
left over or out of order makes every question of the group be asked alone.

Contents are told apart by `cat` printing its own environment between the files, twice before the
first: a random word is in it, which no file can know, since only the same user can read a process's
environment (its arguments are everybody's). Descriptions are a line each, which starts with the path
that was asked for. Units are a block of lines each, which names the unit. Only paths and names of
plain characters are grouped, so that a message's path is the path, quoted or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec

from openwatch.checks import files, units
from openwatch.checks.types import Observation, Probe

_PATH = r"(/[A-Za-z0-9/._+@-]+)"
_CAT = re.compile(rf"cat -- {_PATH}")
_STAT = re.compile(rf"stat .* -- {_PATH}")
_SHOW = re.compile(r"systemctl show .* -- ([A-Za-z0-9@:._-]+)")
_CONTENT_LIMIT = 1 << 21
_MOST = 64  # of one group: each message of a missing file finds room in standard error

_CAT_COMPLAINT = re.compile(rb"cat: (?:can't open ')?(/[A-Za-z0-9/._+@-]+)'?: .*")
_STAT_COMPLAINT = re.compile(rb"stat: (?:cannot statx?|can't stat) '(/[A-Za-z0-9/._+@-]+)': .*")

_Parts = Mapping[str, Probe]
_Answers = dict[str, Observation] | None


class Group(msgspec.Struct, frozen=True):
    """The questions of a group by the paths or names they ask about, and the probe for them all."""

    probe: Probe
    parts: _Parts
    read: Callable[[Observation, _Parts], _Answers]

    def answers(self, observation: Observation) -> _Answers:
        """Return the answers by the ids of the parts, None where they must be asked alone."""
        if observation.absent is not None or observation.truncated:
            return None
        return self.read(observation, self.parts)


def grouped(probes: Iterable[Probe], secret: str) -> tuple[list[Probe], list[Group]]:
    """Return the questions that stay alone, and the groups of the others.

    `secret` is a random word of letters and digits that was made for this scan.
    """
    alone: list[Probe] = []
    contents: dict[str, Probe] = {}
    descriptions: dict[str, Probe] = {}
    shown: dict[str, Probe] = {}
    for probe in {probe.id: probe for probe in probes}.values():
        if path := _asked(probe, _CAT, files.reading):
            contents[path] = probe
        elif path := _asked(probe, _STAT, files.describing):
            descriptions[path] = probe
        elif name := _asked(probe, _SHOW, units.asking):
            shown[name] = probe
        else:
            alone.append(probe)
    read = partial(_contents, f"OW={secret}\0".encode())
    groups = [
        *(Group(_reading(list(parts), secret), parts, read) for parts in _pieces(contents)),
        *(Group(_describing(list(parts)), parts, _lines) for parts in _pieces(descriptions)),
        *(Group(_showing(list(parts)), parts, _blocks) for parts in _pieces(shown)),
    ]
    alone += [
        part for group in groups if len(group.parts) == 1 for part in group.parts.values()
    ]
    return alone, [group for group in groups if len(group.parts) > 1]


def _asked(probe: Probe, pattern: re.Pattern[str], make: Callable[[str], Probe]) -> str:
    """Return what a question of one form asks about, "" where it is of another form."""
    told = pattern.fullmatch(probe.script)
    return told.group(1) if told and probe == make(told.group(1)) else ""


def _pieces(parts: Mapping[str, Probe]) -> Iterable[dict[str, Probe]]:
    listed = list(parts.items())
    for start in range(0, len(listed), _MOST):
        yield dict(listed[start : start + _MOST])


def _reading(paths: Sequence[str], secret: str) -> Probe:
    own = "/proc/self/environ"
    named = " ".join(f"{path} {own}" for path in paths)
    # The head is cut where a file is far larger than anybody expects: then each is asked alone.
    script = f"OW={secret} cat -- {own} {own} {named} | head -c {_CONTENT_LIMIT + 1}"
    return Probe(script, limit=_CONTENT_LIMIT)


def _describing(paths: Sequence[str]) -> Probe:
    one = files.describing("/")
    script = one.script.replace("-c '", "-c '%n\t", 1).removesuffix(" /")
    return Probe(f"{script} {' '.join(paths)}", limit=1 << 16)


def _showing(names: Sequence[str]) -> Probe:
    one = units.asking(names[0])
    script = one.script.removesuffix(names[0]) + " ".join(names)
    return Probe(script, seconds=one.seconds, limit=1 << 18)


def _contents(word: bytes, observation: Observation, parts: _Parts) -> _Answers:
    stdout = observation.stdout
    first = stdout.find(word)
    size = stdout.find(word, first + 1) - first
    separator = stdout[:size]
    pieces = stdout.split(separator) if 0 <= first < size else []
    if len(pieces) != len(parts) + 3 or pieces[0] or pieces[1] or pieces[-1]:
        return None
    found = dict(zip(parts, pieces[2:-1], strict=True))
    return _with_complaints(found, _CAT_COMPLAINT, observation, parts)


def _lines(observation: Observation, parts: _Parts) -> _Answers:
    *lines, rest = observation.stdout.split(b"\n")
    found: dict[str, bytes] = {}
    waiting = iter(parts)
    for line in lines:
        path, _, said = line.partition(b"\t")
        if path.decode("utf-8", "replace") not in waiting:  # takes all before it, too
            return None
        found[path.decode()] = said + b"\n"
    return None if rest else _with_complaints(found, _STAT_COMPLAINT, observation, parts)


def _blocks(observation: Observation, parts: _Parts) -> _Answers:
    """Tell blocks apart by empty lines, each of which names the unit that was asked for in its place.

    Where systemctl is not there, or nobody answers it, it is so for each unit alike.
    """
    took = observation.milliseconds // len(parts)
    if observation.exit != 0 and not observation.stdout:
        refused = b"denie" in observation.stderr.lower()  # which may be meant for one of them
        if refused or any(name.encode() in observation.stderr for name in parts):
            return None
        alike = msgspec.structs.replace(observation, milliseconds=took)
        return {part.id: alike for part in parts.values()}
    blocks = observation.stdout.removesuffix(b"\n").split(b"\n\n")
    if observation.exit != 0 or observation.stderr or len(blocks) != len(parts):
        return None
    answers = {}
    for (name, part), block in zip(parts.items(), blocks, strict=True):
        if not units.is_of(block, name):
            return None
        answers[part.id] = Observation(stdout=block + b"\n", milliseconds=took)
    return answers


def _with_complaints(
    found: Mapping[str, bytes],
    pattern: re.Pattern[bytes],
    observation: Observation,
    parts: _Parts,
) -> _Answers:
    """Return what was printed about each path or the message in its place, never both or neither."""
    complaints = _by_path(observation.stderr, pattern, parts)
    if complaints is None:
        return None
    took = observation.milliseconds // len(parts)
    answers = {}
    for path, part in parts.items():
        stdout, stderr = found.get(path), complaints.get(path, b"")
        if (stdout is None and not stderr) or (stdout and stderr):
            return None
        kept = (stdout or b"")[: part.limit]
        answers[part.id] = Observation(
            exit=1 if stderr else 0,
            stdout=kept,
            stderr=stderr,
            milliseconds=took,
            truncated=len(kept) < len(stdout or b""),
        )
    return answers


def _by_path(
    stderr: bytes, pattern: re.Pattern[bytes], parts: Mapping[str, Probe]
) -> dict[str, bytes] | None:
    """Return the one message about each path, None where a line is about anything else."""
    found: dict[str, bytes] = {}
    for line in stderr.split(b"\n"):
        if not line:
            continue
        told = pattern.fullmatch(line)
        path = told.group(1).decode() if told else ""
        if path not in parts or path in found:
            return None
        found[path] = line
    return found
