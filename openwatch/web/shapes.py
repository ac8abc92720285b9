"""What several nouns share on the wire."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, TypeAlias

import msgspec

# An instant in a request: RFC 3339 with a zone; one without would mean another time elsewhere.
When: TypeAlias = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class LensQuery(msgspec.Struct, frozen=True):
    """Under which framework: a family (`stig`) or one benchmark (`stig_rhel9`); all rules if none."""

    framework: str | None = None
