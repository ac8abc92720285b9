"""Logging as the configuration says."""

from __future__ import annotations

import logging

from openwatch import log
from openwatch.config import Loaded

_logger = logging.getLogger(__name__)


def start_logging(loaded: Loaded) -> None:
    """Log to standard error from here on, and first what the configuration deserves."""
    settings = loaded.config.logging
    log.configure(settings.level, settings.format)
    for warning in loaded.warnings:
        log.event(_logger, logging.WARNING, "config.warning", warning)
