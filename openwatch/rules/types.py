"""The corpus in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from openwatch.checks.types import Severity
from openwatch.rules.document import Node


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


class Template(msgspec.Struct, frozen=True):
    """A rule as it was written, kept where variables stand in it, to be read with other values."""

    node: Node
    file: str
    names: frozenset[str]  # the variables that stand anywhere in it
    judged: frozenset[str]  # those of them that stand in its checks and gates
    gates: frozenset[str] = frozenset()  # those of them that stand in its gates


class Tiers(msgspec.Struct, frozen=True):
    """What operators say of variables beside the defaults, the weakest first.

    The names of groups and hosts are lower-case. `given` is the command line's.
    """

    fleet: Mapping[str, Any] = {}
    groups: Mapping[str, Mapping[str, Any]] = {}
    hosts: Mapping[str, Mapping[str, Any]] = {}
    given: Mapping[str, Any] = {}


class Control(msgspec.Struct, frozen=True):
    """A line of a framework: which rules serve it, at which level, with which parameters.

    `params` are the benchmark's own values of variables; `variants` names, for each rule that
    uses one of them, the variant that is judged for this control.
    """

    id: str
    rules: tuple[str, ...] = ()
    level: str = ""
    title: str = ""
    automated: bool = True
    reason: str = ""  # why nothing can automate it
    params: Mapping[str, Any] = {}
    variants: Mapping[str, str] = {}


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
    variables: Mapping[str, Any] = {}  # in effect where no group or host says otherwise
    tiers: Tiers = Tiers()
    templates: Mapping[str, Template] = {}  # by rule
    variants: Mapping[str, Mapping[str, Rule]] = {}  # by rule, then by the variant's name
    parameters: Mapping[str, Mapping[str, Any]] = {}  # a variant's values, by its name
