"""What handlers use, wired once by the composition root."""

from __future__ import annotations

import msgspec

from openwatch.accounts.tokens import Tokens
from openwatch.config import Config
from openwatch.db import Database
from openwatch.health.readiness import Readiness
from openwatch.rules.types import Corpus
from openwatch.vault import Vault
from openwatch.web.events import Broadcaster
from openwatch.web.metrics import Metrics


class Services(msgspec.Struct, frozen=True):
    """The collaborators of the HTTP edge; whole or not at all."""

    config: Config
    db: Database
    vault: Vault
    tokens: Tokens
    corpus: Corpus
    readiness: Readiness = msgspec.field(default_factory=Readiness)
    metrics: Metrics = msgspec.field(default_factory=Metrics)
    events: Broadcaster = msgspec.field(default_factory=Broadcaster)
