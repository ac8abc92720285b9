"""What a scan has in hand between its steps: begun, answered, found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from openwatch.checks.types import Facts, Lane, Observation
from openwatch.fleet.inventory import Inventory
from openwatch.posture.types import ScanMark
from openwatch.rules.types import Corpus
from openwatch.scans.collect import Collected
from openwatch.scans.judge import Ruling
from openwatch.scans.plan import Plan
from openwatch.ssh.types import HostKey, Target


class Answer(msgspec.Struct, frozen=True):
    """What a host said, and what it was asked, before anything is judged.

    `looked` are the answers about what is on the host, whether or not a rule asked for them, too;
    empty where nobody looked. What no rule asked for is no evidence.
    """

    plan: Plan
    facts: Facts
    collected: Collected
    observed_at: dt.datetime
    host_key: HostKey | None
    looked: Mapping[str, Observation] = {}


class Begun(msgspec.Struct, frozen=True):
    """A scan that has started: its row, its lane, its host, what was known of that, its rules."""

    mark: ScanMark
    host_id: UUID
    lane: Lane
    target: Target
    known: Facts | None
    corpus: Corpus


class Found(msgspec.Struct, frozen=True):
    """What a scan is about to record, without a secret: verdicts, answers as blobs, its cost."""

    rulings: Mapping[str, Ruling]
    answers: Mapping[str, bytes]
    cost: Mapping[str, Any]
    inventory: Inventory | None = None
