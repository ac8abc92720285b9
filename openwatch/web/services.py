"""What handlers use, wired once by the composition root."""

from __future__ import annotations

import msgspec

from openwatch.accounts.tokens import Tokens
from openwatch.config import Config
from openwatch.db import Database
from openwatch.rules.types import Corpus
from openwatch.vault import Vault
from openwatch.web.events import Broadcaster


class Services(msgspec.Struct, frozen=True):
    """The collaborators of the HTTP edge; whole or not at all."""

    config: Config
    db: Database
    vault: Vault
    tokens: Tokens
    corpus: Corpus
    events: Broadcaster = msgspec.field(default_factory=Broadcaster)
