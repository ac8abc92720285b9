"""Several questions about files in one process, answered as if each had been asked alone.

A question of its own costs a host two forks and a millisecond; these cost as good as nothing more.
What a host prints is taken for the answers only where it can be nothing else: whatever is missing,
left over or out of order makes every question of the group be asked alone.

Contents are told apart by `cat` printing its own environment between the files, twice before the
first: a random word is in it, which no file can know, since only the same user can read a process's
environment (its arguments are everybody's). Descriptions are a line each, which starts with the path that was asked for. Only
paths of plain characters are grouped, so that a message's path is the path, quoted or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from openwatch.checks import files
from openwatch.checks.types import Observation, Probe

_PATH = r"(/[A-Za-z0-9/._+@-]+)"
_CAT = re.compile(rf"cat -- {_PATH}")
_STAT = re.compile(rf"stat .* -- {_PATH}")
_CONTENT_LIMIT = 1 << 21
_MOST = 64  # of one group: each message of a missing file finds room in standard error

_CAT_COMPLAINT = re.compile(rb"cat: (?:can't open ')?(/[A-Za-z0-9/._+@-]+)'?: .*")
_STAT_COMPLAINT = re.compile(rb"stat: (?:cannot statx?|can't stat) '(/[A-Za-z0-9/._+@-]+)': .*")


class Group(msgspec.Struct, frozen=True):
    """The questions of a group by the paths they ask about, and the probe that asks them all."""

    probe: Probe
    parts: Mapping[str, Probe]
    secret: str  # the word between two contents, "" where descriptions are asked for

    def answers(self, observation: Observation) -> dict[str, Observation] | None:
        """Return the answers by the ids of the parts, None where they must be asked alone."""
        if observation.absent is not None or observation.truncated:
            return None
        pattern = _CAT_COMPLAINT if self.secret else _STAT_COMPLAINT
        complaints = _by_path(observation.stderr, pattern, self.parts)
        found = self._contents(observation) if self.secret else self._lines(observation)
        if complaints is None or found is None:
            return None
        took = observation.milliseconds // len(self.parts)
        answers = {}
        for path, part in self.parts.items():
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

    def _contents(self, observation: Observation) -> dict[str, bytes] | None:
        stdout, word = observation.stdout, f"OW={self.secret}\0".encode()
        first = stdout.find(word)
        size = stdout.find(word, first + 1) - first
        separator = stdout[:size]
        pieces = stdout.split(separator) if 0 <= first < size else []
        if len(pieces) != len(self.parts) + 3 or pieces[0] or pieces[1] or pieces[-1]:
            return None
        return dict(zip(self.parts, pieces[2:-1], strict=True))

    def _lines(self, observation: Observation) -> dict[str, bytes] | None:
        *lines, rest = observation.stdout.split(b"\n")
        found: dict[str, bytes] = {}
        waiting = iter(self.parts)
        for line in lines:
            path, _, said = line.partition(b"\t")
            if path.decode("utf-8", "replace") not in waiting:  # takes all before it, too
                return None
            found[path.decode()] = said + b"\n"
        return None if rest else found


def grouped(probes: Iterable[Probe], secret: str) -> tuple[list[Probe], list[Group]]:
    """Return the questions that stay alone, and the groups of the others.

    `secret` is a random word of letters and digits that was made for this scan.
    """
    alone: list[Probe] = []
    contents: dict[str, Probe] = {}
    descriptions: dict[str, Probe] = {}
    for probe in {probe.id: probe for probe in probes}.values():
        if path := _asked(probe, _CAT, files.reading):
            contents[path] = probe
        elif path := _asked(probe, _STAT, files.describing):
            descriptions[path] = probe
        else:
            alone.append(probe)
    groups = [
        *(Group(_reading(list(parts), secret), parts, secret) for parts in _pieces(contents)),
        *(Group(_describing(list(parts)), parts, "") for parts in _pieces(descriptions)),
    ]
    alone += [
        part for group in groups if len(group.parts) == 1 for part in group.parts.values()
    ]
    return alone, [group for group in groups if len(group.parts) > 1]


def _asked(probe: Probe, pattern: re.Pattern[str], make: Callable[[str], Probe]) -> str:
    """Return the path that a question of one form asks about, "" where it is of another form."""
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
