"""`openwatch keys`: print the keys' fingerprints, replace keys, and drop what no key opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from openwatch import errors, vault
from openwatch.cli import DONE, FAILED, Arguments, UsageError, complain, lost_keys
from openwatch.cli.arguments import configured
from openwatch.cli.logs import start_logging
from openwatch.config import Config
from openwatch.db import Database
from openwatch.health import processes
from openwatch.keys import files, rotation, sealed, signing
from openwatch.vault import Vault

_WAIT = 120.0  # seconds for running processes to take a new key


def run(arguments: Arguments) -> int:
    """Run the subcommand that was meant; return the exit status."""
    loaded = configured(arguments)
    start_logging(loaded)
    act = _act(arguments)
    from openwatch import app  # after the configuration: a slip in it is told at once

    with app.administration(loaded.config) as db:
        return act(db, loaded.config)


def _act(arguments: Arguments) -> Callable[[Database, Config], int]:
    if arguments["rotate-credential-key"]:
        patience = _seconds(arguments["--wait"])
        keep_old = bool(arguments["--keep-old"])
        return lambda db, config: _rotate_credential_key(db, config, patience, keep_old)
    if arguments["rotate-jwt"]:
        return _rotate_jwt
    if arguments["rotate-signing"]:
        return _rotate_signing
    if arguments["forget-lost"]:
        return lambda db, config: lost_keys.forget(db, _vault(config), arguments["--yes"])
    return _list


def _seconds(text: str | None) -> float:
    if text is None:
        return _WAIT
    if not text.isascii() or not text.isdigit():
        raise UsageError("--wait needs a number of seconds")
    return float(text)


def _list(db: Database, config: Config) -> int:
    """Print every key by its fingerprint; 1 where some cannot be read."""
    for key in signing.public_keys(db):
        since = f"made {key.created_at:%Y-%m-%d}"
        state = f"{since}, retired {key.retired_at:%Y-%m-%d}" if key.retired_at else since
        by = f", endorsed by {key.endorsed_by}" if key.endorsed_by else ""
        print(f"signing     {key.id}  {key.purpose}, {state}{by}")
    status = DONE
    for reading in (_credential_keys, _jwt_keys):
        try:
            for line in reading(config):
                print(line)
        except errors.KeyFileError as unreadable:
            complain(unreadable.message)
            status = FAILED
    if status == DONE:
        lost = sealed.lost(db, _vault(config))
        for place, count in lost.items():
            complain(f"{count} values of {place} open with none of these keys")
        status = FAILED if lost else DONE
    return status


def _credential_keys(config: Config) -> Iterator[str]:
    path = Path(config.identity.credential_key_file)
    found = files.credential_keys(path)
    for key in found:
        use = "seals and opens" if key == found[0] else "opens"
        yield f"credential  {vault.key_id(key).hex()}  {use} what is stored"
    if files.staged(path).exists() or files.replaced(path).exists():
        yield "            a rotation of it is under way: openwatch keys rotate-credential-key ends it"


def _jwt_keys(config: Config) -> Iterator[str]:
    found = files.jwt_keys(Path(config.identity.jwt_private_key))
    for key, use in zip(found, ("signs and verifies", "verifies"), strict=False):
        yield f"jwt         {files.jwt_key_id(key.public_key())}  {use} access tokens"


def _rotate_credential_key(
    db: Database, config: Config, patience: float, keep_old: bool
) -> int:
    path = Path(config.identity.credential_key_file)
    done = rotation.Rotation(
        db,
        path,
        lambda: processes.live(db),
        patience=patience,
        keep_old=keep_old,
        tell=lambda step: print(step.value, flush=True),
    ).run()
    print(
        f"credential key {done.new} took the place of {done.old}; {done.renewed} values sealed"
    )
    print(f"back up {path} now, together with the database: older backups need the old key")
    return DONE


def _rotate_jwt(db: Database, config: Config) -> int:
    path = Path(config.identity.jwt_private_key)
    old, new = rotation.rotate_jwt(db, path)
    print(f"JWT key {new} took the place of {old}, which verifies on; sessions stay")
    return DONE


def _rotate_signing(db: Database, config: Config) -> int:
    held = _vault(config)
    for purpose in signing.purposes(db):
        old = signing.signer(db, held, purpose).id
        new = signing.rotate(db, held, purpose).id
        print(f"signing     {new}  {purpose}, endorsed by {old}")
    return DONE


def _vault(config: Config) -> Vault:
    return Vault(files.credential_keys(Path(config.identity.credential_key_file)))
