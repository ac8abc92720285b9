"""`openwatch keys list`: the fingerprints to write down and keep apart from the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openwatch import errors, vault
from openwatch.cli import DONE, FAILED, Arguments, complain
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging
from openwatch.config import Config
from openwatch.keys import files, signing


def run(arguments: Arguments) -> int:
    """Print every key by its fingerprint; 1 where some cannot be read."""
    loaded = configured(arguments)
    start_logging(loaded)
    from openwatch import app  # after the configuration: a slip in it is told at once

    with app.administration(loaded.config) as db:
        for key in signing.public_keys(db):
            since = f"made {key.created_at:%Y-%m-%d}"
            state = f"{since}, retired {key.retired_at:%Y-%m-%d}" if key.retired_at else since
            by = f", endorsed by {key.endorsed_by}" if key.endorsed_by else ""
            print(f"signing     {key.id}  {key.purpose}, {state}{by}")
    status = DONE
    for reading in (_credential_keys, _jwt_keys):
        try:
            for line in reading(loaded.config):
                print(line)
        except errors.KeyFileError as unreadable:
            complain(unreadable.message)
            status = FAILED
    return status


def _credential_keys(config: Config) -> Iterator[str]:
    found = files.credential_keys(Path(config.identity.credential_key_file))
    for key, use in zip(found, ("seals and opens", "opens"), strict=False):
        yield f"credential  {vault.key_id(key).hex()}  {use} what is stored"


def _jwt_keys(config: Config) -> Iterator[str]:
    found = files.jwt_keys(Path(config.identity.jwt_private_key))
    for key, use in zip(found, ("signs and verifies", "verifies"), strict=False):
        yield f"jwt         {files.jwt_key_id(key.public_key())}  {use} access tokens"
