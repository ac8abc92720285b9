"""`openwatch openapi`."""

from __future__ import annotations

import sys

from openwatch.cli import DONE, Arguments
from openwatch.web.api import ALL
from openwatch.web.openapi import render


def run(_: Arguments) -> int:
    """Print the OpenAPI document of this program."""
    sys.stdout.write(render(ALL))
    return DONE
