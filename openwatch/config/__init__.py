"""The configuration: what can be set, what is set, and where each value came from."""

from __future__ import annotations

from openwatch.config.kinds import address
from openwatch.config.load import Loaded, load, suggestion
from openwatch.config.render import markdown, toml
from openwatch.config.schema import DEFAULT_FILE, OPTIONS, PREFIX, Config, Option

__all__ = [
    "DEFAULT_FILE",
    "OPTIONS",
    "PREFIX",
    "Config",
    "Loaded",
    "Option",
    "address",
    "load",
    "markdown",
    "suggestion",
    "toml",
]
