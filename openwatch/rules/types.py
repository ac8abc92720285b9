"""The corpus in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from openwatch.checks.types import Severity


class Platform(msgspec.Struct, frozen=True):
    """Where a rule applies; a bound of 0 is none."""

    family: str
    min_version: int = 0
    max_version: int = 0
    derivatives: bool = True


class Check(msgspec.Struct, frozen=True):
    """A node: one method with its (typed, decoded) parameters, or an AND over `children`."""

    method: str = ""
    parameters: Any = None
    children: tuple[Check, ...] = ()


class When(msgspec.Struct, frozen=True):
    """A capability gate: `capability`, or one combinator over other gates."""

    capability: str = ""
    all: tuple[When, ...] = ()
    any: tuple[When, ...] = ()
    none: When | None = None  # `not`


class Implementation(msgspec.Struct, frozen=True):
    """A rule's check (and remediation, kept as written) for one kind of host."""

    check: Check
    when: When | None = None
    default: bool = False
    remediation: Mapping[str, Any] = {}


class Rule(msgspec.Struct, frozen=True):
    """What is required, how severe, where."""

    id: str
    title: str
    description: str
    rationale: str
    severity: Severity
    category: str
    implementations: tuple[Implementation, ...]
    platforms: tuple[Platform, ...] = ()
    tags: tuple[str, ...] = ()
    references: Mapping[str, Any] = {}
    depends_on: tuple[str, ...] = ()
    conflicts_with: tuple[str, ...] = ()
    supersedes: tuple[str, ...] = ()
    transactional: bool = True
    file: str = ""
    line: int = 0


class Control(msgspec.Struct, frozen=True):
    """A line of a framework: which rules serve it, at which level."""

    id: str
    rules: tuple[str, ...] = ()
    level: str = ""
    title: str = ""
    automated: bool = True
    reason: str = ""  # why nothing can automate it


class Framework(msgspec.Struct, frozen=True):
    """A benchmark for one platform: `stig_rhel9`, family `stig`."""

    id: str
    family: str
    title: str
    version: str
    platform: Platform | None  # None: every platform (NIST)
    controls: tuple[Control, ...]


class Problem(msgspec.Struct, frozen=True):
    """A mistake in a document: where, and what to do. The rest of the corpus still loads."""

    file: str
    line: int
    message: str


class Corpus(msgspec.Struct, frozen=True):
    """All rules and frameworks that loaded, and what did not."""

    rules: Mapping[str, Rule]
    frameworks: Mapping[str, Framework]
    problems: tuple[Problem, ...]
    document: bytes  # canonical JSON of everything that can change a verdict
    hash: bytes  # SHA-256 of `document`
    variables: Mapping[str, Any] = {}
