"""The settings there are: each a Struct, under a key, with what it is where nobody has set it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class Setting(msgspec.Struct, Generic[T], frozen=True):
    """One setting: its key in the database, and its default."""

    key: str
    default: T


class ComplianceConfig(msgspec.Struct, frozen=True):
    """How compliance is looked at: the framework to begin with, and those that are offered.

    "" is no framework, all rules; none named offers all.
    """

    default_framework: str
    enabled_frameworks: tuple[str, ...] = ()

    def offers(self, framework: str, family: str) -> bool:
        """Say whether a framework may be chosen, by its own name or its family's."""
        allowed = self.enabled_frameworks
        return not allowed or framework in allowed or family in allowed


class ScanVariables(msgspec.Struct, frozen=True):
    """The fleet's values of rules' variables, as text, where they are not those of the files."""

    overrides: Mapping[str, str]


COMPLIANCE = Setting("compliance", ComplianceConfig(""))
SCAN_VARIABLES = Setting("scan_variables", ScanVariables({}))
