"""The words of the engine: probe, observation, verdict, facts, and what a check method is."""

from __future__ import annotations

import enum
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Lane(enum.StrEnum):
    """Questions of one cost: `config` is asked at every scan, `filesystem` walks disks."""

    CONFIG = "config"
    FILESYSTEM = "filesystem"


class Normaliser(enum.StrEnum):
    """What takes out of an answer that which varies by nature; checks.normalise has them."""

    SYSCTL = "sysctl"
    MODULES = "modules"
    MOUNTS = "mounts"


class Probe(msgspec.Struct, frozen=True):
    """One question to a host: a POSIX sh fragment and its limits.

    Whoever builds the fragment quotes every value in it (`shlex.quote`). An isolated probe runs
    in a shell of its own: everything that a rule's author wrote freely is isolated. A probe whose
    answer varies on a host that nobody changed names its normaliser.
    """

    script: str
    isolated: bool = False
    lane: Lane = Lane.CONFIG
    seconds: float = 10.0
    limit: int = 65536  # bytes of standard output that are kept
    normaliser: Normaliser | None = None

    @property
    def id(self) -> str:
        """32 hex digits: equal questions have equal ids, so they are asked once.

        Stored evidence names its probes so: a field that is added later counts where it is used.
        """
        return _id(self)


@functools.lru_cache(4096)
def _id(probe: Probe) -> str:
    parts: list[Any] = [
        probe.script,
        probe.isolated,
        probe.lane,
        float(probe.seconds),
        probe.limit,
    ]
    if probe.normaliser is not None:
        parts.append(probe.normaliser)
    body = msgspec.json.encode(parts)
    return hashlib.sha256(body).hexdigest()[:32]


class Absence(enum.StrEnum):
    """Why there is no answer to a probe."""

    TIMEOUT = "timeout"  # it outran its budget and was killed
    LOST = "lost"  # the connection or its shell ended while it ran
    OVERFLOW = "overflow"  # the reply grew past all limits while it ran
    NOT_ASKED = "not_asked"  # the scan's budget ended before its turn


class Observation(msgspec.Struct, frozen=True):
    """A host's answer to one probe, or why there is none (`absent`)."""

    exit: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    milliseconds: int = 0
    truncated: bool = False
    absent: Absence | None = None

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 become replacement characters."""
        return self.stdout.decode("utf-8", "replace")


class Status(enum.StrEnum):
    """What a verdict says. `error` is never a polite word for fail or pass."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    SKIPPED = "skipped"
    ERROR = "error"


class Severity(enum.StrEnum):
    """How bad a failure is, lowest first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Reason(enum.StrEnum):
    """Why a verdict is what it is: a stable code, stored with every finding."""

    MEETS = "meets"  # pass: the answer meets the rule
    DIFFERS = "differs"  # fail: another value than the rule's
    MISSING = "missing"  # fail: what the rule wants is not there
    PRESENT = "present"  # fail: what the rule forbids is there
    DEPENDENCY = "dependency"  # fail: cannot be had because of a failed dependency
    PLATFORM = "platform"  # skipped: the rule is for other platforms
    NO_IMPLEMENTATION = "no_implementation"  # skipped: no implementation fits the host
    NOT_DECLARED = "not_declared"  # skipped: the operator has not declared a parameter
    NOT_ASSESSABLE = "not_assessable"  # skipped: the check itself says it does not apply
    DEPENDENCY_SKIPPED = "dependency_skipped"  # skipped: what it depends on was skipped
    TOOL_MISSING = "tool_missing"  # error: exit 127
    NOT_EXECUTABLE = "not_executable"  # error: exit 126
    DENIED = "denied"  # error: permission denied
    KILLED = "killed"  # error: ended by a signal
    TIMED_OUT = "timed_out"  # error: the probe outran its budget
    UNREADABLE = "unreadable"  # error: a file could not be read
    LOST = "lost"  # error: the connection ended
    TRUNCATED = "truncated"  # error: the answer was cut, what is left does not decide
    UNEXPECTED_EXIT = "unexpected_exit"  # error: an exit code the method does not know
    UNPARSABLE = "unparsable"  # error: the answer makes no sense
    NOT_ASKED = "not_asked"  # error: the budget ended before its turn
    CORRUPT_RULE = "corrupt_rule"  # error: the rule itself cannot be judged


class Verdict(msgspec.Struct, frozen=True):
    """What a check found. `actual` is normalised: a clock or counter never appears in it."""

    status: Status
    reason: Reason
    detail: str = ""
    expected: str = ""
    actual: str = ""

    @property
    def digest(self) -> bytes:
        """16 bytes over expected and actual: a change of either opens a new period."""
        body = msgspec.json.encode((self.expected, self.actual))
        return hashlib.sha256(body).digest()[:16]


class Facts(msgspec.Struct, frozen=True):
    """What is known of a host before it is asked: enough to choose implementations.

    `family` is the lower-cased ID of os-release, "" where it could not be read; `like` holds the
    words of ID_LIKE. Capabilities are those of rule-language.md section 4.1 that were true;
    `unknown` names those whose probe gave no answer, which is not the same as false.
    """

    family: str = ""
    version: str = ""  # VERSION_ID, "9.4", "22.04"
    like: tuple[str, ...] = ()
    pretty: str = ""
    hostname: str = ""
    architecture: str = ""
    kernel: str = ""
    root: bool = False  # the questions are asked as root
    capabilities: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()

    @property
    def major(self) -> int:
        """The leading integer of the version, 0 where it is unknown."""
        head = self.version.split(".", 1)[0]
        return int(head) if head.isdigit() else 0


Observations = Mapping[str, Observation]  # by probe id


class Method(msgspec.Struct, frozen=True):
    """A check method: its parameters, what it asks, and how the answers are judged.

    `probes(params, facts)` and `judge(params, facts, observations)` are pure. `judge` looks its
    observations up by the ids of the probes that `probes` returns for the same arguments.
    """

    name: str
    parameters: type[msgspec.Struct]  # forbid_unknown_fields=True: a closed world
    probes: Callable[[Any, Facts], tuple[Probe, ...]]
    judge: Callable[[Any, Facts, Observations], Verdict]
