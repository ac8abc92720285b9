"""Logging as the configuration says, or as a person at a terminal reads it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from openwatch import log
from openwatch.cli import UsageError
from openwatch.config import Loaded

_logger = logging.getLogger(__name__)


def start_logging(loaded: Loaded) -> None:
    """Log to standard error from here on, and first what the configuration deserves."""
    settings = loaded.config.logging
    log.configure(settings.level, settings.format)
    for warning in loaded.warnings:
        log.event(_logger, logging.WARNING, "config.warning", warning)


def for_people(arguments: Mapping[str, Any]) -> None:
    """Send warnings, or what --log-level asks for, to standard error as text. Raise UsageError."""
    level = arguments["--log-level"] or "warn"
    if level not in log.LEVELS:
        raise UsageError(f"--log-level must be one of {', '.join(log.LEVELS)}, not {level!r}")
    log.configure(level, "text")
