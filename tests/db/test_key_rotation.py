"""The credential key is replaced while everything runs; wherever that is broken off, it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openwatch import errors, ids
from openwatch.accounts import mfa
from openwatch.accounts.types import EVERYTHING
from openwatch.audit.types import Actor
from openwatch.clock import now
from openwatch.db import Database, Query
from openwatch.fleet import credential_changes, credentials
from openwatch.fleet.credential_changes import Change
from openwatch.fleet.credentials import NewCredential
from openwatch.fleet.types import AuthMethod, Credential, Scope, Secrets
from openwatch.health import processes
from openwatch.health.processes import Heartbeat
from openwatch.keys import files, sealed, signing, watch
from openwatch.keys.rotation import Rotation, Step
from openwatch.vault import Vault, key_id

BETWEEN_BATCHES = "between batches"  # of what is sealed anew
USERS = Query(
    "users",
    "many users",
    "INSERT INTO users (id, username, email, password_hash)"
    " SELECT unnest(:ids::uuid[]), unnest(:names::text[]), unnest(:names::text[]), '-'",
)
EVENTS = Query(
    "events",
    "what the trail says of the key",
    "SELECT detail ->> 'old' AS old, detail ->> 'new' AS new FROM audit_events"
    " WHERE resource_type = 'key' AND resource_id = 'credential' ORDER BY number",
)
RETIRED = Query("retired", "replaced keys", "SELECT id FROM retired_keys ORDER BY retired_at")
SEALED = Query(
    "sealed",
    "columns that are named as if they were sealed",
    "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
    " AND a.atttypid = 'bytea'::regtype AND a.attname ~ 'encrypted|sealed|cipher|_enc$' ORDER BY 1",
)
GUARDED = Query(
    "guarded",
    "columns that a trigger guards against replaced keys",
    "SELECT c.relname, t.tgargs FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
    " WHERE t.tgfoid = 'refuse_retired_key'::regproc",
)
PROCESS = Query(
    "process",
    "a process that lives",
    "INSERT INTO processes (id, kind, host, pid, version, key_ids)"
    " VALUES (:id, 'worker', 'far-away', 42, '1', :key_ids::text[])"
    " ON CONFLICT (id) DO UPDATE SET key_ids = excluded.key_ids",
)


def key_file(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    files.generate_credential_key(folder / "credential.key", group=os.getegid())
    return folder / "credential.key"


def store(db: Database, vault: Vault, name: str = "default") -> Credential:
    new = NewCredential(
        Scope.SYSTEM,
        name,
        "scanner",
        AuthMethod.PASSWORD,
        Secrets(password=f"secret of {name}"),
    )
    return credentials.create(db, vault, new, scope=EVERYTHING)


def fill(db: Database, vault: Vault, factors: int = 3) -> int:
    """Store something in every sealed column that has no key of SSH; return how many values."""
    users = [ids.new_id() for _ in range(factors)]
    db.run(USERS, ids=users, names=[str(user) for user in users])
    for user in users:
        mfa.enrol(db, vault, user, now(), actor=Actor(label="x"))
    store(db, vault)
    signing.signer(db, vault, "scan")
    return factors + 2


def open_all(db: Database, path: Path) -> int:
    """Open everything with the one key there is; return how many values there are."""
    vault = Vault([path.read_bytes()])
    values = [value for batch in sealed.beyond(db, []) for value in batch]
    for value in values:
        assert value.opened(vault)
    return len(values)


def only_the_key(path: Path) -> bool:
    return [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_rotation_seals_everything_anew_and_leaves_one_key(
    database: Database, tmp_path: Path
) -> None:
    path = key_file(tmp_path)
    old = path.read_bytes()
    count = fill(database, Vault([old]))
    steps: list[Step] = []
    done = Rotation(database, path, tuple, tell=steps.append).run()
    assert steps == list(Step)
    assert (done.old, done.renewed) == (key_id(old).hex(), count)
    assert done.new == key_id(path.read_bytes()).hex() != done.old
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_gid == os.getegid()
    assert only_the_key(path)
    assert open_all(database, path) == count
    assert database.rows(EVENTS) == [{"old": done.old, "new": done.new}]
    assert database.rows(RETIRED) == [{"id": done.old}]
    with pytest.raises(errors.KeyFileError, match="was replaced on"):
        sealed.require_not_retired(database, done.old)


@pytest.mark.parametrize("where", [*(step.value for step in Step), BETWEEN_BATCHES])
def test_a_rotation_that_is_killed_anywhere_is_finished_by_the_next(
    database: Database, dsn: str, tmp_path: Path, where: str
) -> None:
    path = key_file(tmp_path)
    old = path.read_bytes()
    factors = 2 * sealed.BATCH + 50 if where == BETWEEN_BATCHES else 2
    count = fill(database, Vault([old]), factors)
    killed = subprocess.run(
        [sys.executable, Path(__file__).with_name("rotate_child.py"), dsn, path, where],
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL
    meanwhile = Vault(files.credential_keys(path))  # whoever starts now can open everything
    assert list(sealed.unreadable(database, meanwhile)) == []
    if where != Step.REMOVED:
        Rotation(database, path, tuple).run()
    assert path.read_bytes() != old
    assert only_the_key(path)
    assert open_all(database, path) == count
    assert len(database.rows(EVENTS)) == 1


def test_a_process_without_the_new_key_is_named_and_waited_for(
    database: Database, tmp_path: Path
) -> None:
    path = key_file(tmp_path)
    old, far = key_id(path.read_bytes()).hex(), ids.new_id()
    store(database, Vault([path.read_bytes()]))

    def rotate() -> Any:
        return Rotation(database, path, lambda: processes.live(database), patience=0).run()

    database.run(PROCESS, id=far, key_ids=[old])
    with pytest.raises(errors.Conflict, match=r"do not hold .* worker on far-away \(pid 42\)"):
        rotate()
    assert key_id(path.read_bytes()).hex() == old
    new = key_id(files.staged(path).read_bytes()).hex()
    database.run(PROCESS, id=far, key_ids=[old, new])
    with pytest.raises(errors.Conflict, match=r"do not seal with .* far-away"):
        rotate()
    assert key_id(path.read_bytes()).hex() == new
    assert database.rows(RETIRED) == []
    database.run(PROCESS, id=far, key_ids=[new, old])
    assert rotate().new == new
    assert open_all(database, path) == 1


def test_who_stores_and_changes_meanwhile_loses_nothing(
    database: Database, dsn: str, tmp_path: Path
) -> None:
    path = key_file(tmp_path)
    vault, watched = watch.vault(path)
    fill(database, vault, 20)
    failures: list[BaseException] = []
    made: list[str] = []
    stopping = threading.Event()

    def busy(act: Callable[[int], None]) -> None:
        with database.scope():
            number = 0
            while not stopping.is_set():
                number += 1
                try:
                    act(number)
                except errors.RetryableConflict:
                    watched.refresh()
                except BaseException as error:
                    failures.append(error)
                    return

    def add(number: int) -> None:
        store(database, vault, f"n{number}")
        made.append(f"n{number}")

    changed = store(database, vault, "changed").id

    def change(number: int) -> None:
        with database.atomic():
            held = credential_changes.hold(database, changed, scope=EVERYTHING)
            wanted = Change(secrets=Secrets(password=f"p{number}"))
            credential_changes.change(database, vault, held, wanted, scope=EVERYTHING)
        assert credentials.opened(database, vault, changed).password == f"p{number}"

    heartbeat = Heartbeat(database, "serve", lambda: vault.key_ids)
    watched.used_by(lambda _keys: heartbeat.beat_soon())
    threads = [threading.Thread(target=busy, args=[act]) for act in (add, change)]
    with heartbeat, watch.Watch(watched, every=0.05):
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                Rotation(database, path, lambda: processes.live(database)).run()
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
    assert failures == []
    assert len(made) > 10
    assert open_all(database, path) == 20 + 3 + len(made)
    assert len(database.rows(RETIRED)) == 3


def test_the_old_key_can_be_kept_aside(database: Database, tmp_path: Path) -> None:
    path = key_file(tmp_path)
    old = path.read_bytes()
    done = Rotation(database, path, tuple, keep_old=True).run()
    kept = path.with_name(f"credential.key.{done.old}.kept")
    assert kept.read_bytes() == old
    assert files.credential_keys(path) == (path.read_bytes(),)
    Rotation(database, path, tuple).run()  # and is in nobody's way
    assert kept.read_bytes() == old


def test_what_no_key_opens_stops_a_rotation_before_anything_is_changed(
    database: Database, tmp_path: Path
) -> None:
    path = key_file(tmp_path)
    before = path.read_bytes()
    lost = store(database, Vault([b"l" * 32]))
    with pytest.raises(errors.SecretUnreadable, match=str(lost.id)):
        Rotation(database, path, tuple).run()
    assert path.read_bytes() == before
    assert only_the_key(path)
    assert sealed.lost(database, Vault([before])) == {"credentials.encrypted_password": 1}


def test_two_rotations_do_not_run_at_once(database: Database, dsn: str, tmp_path: Path) -> None:
    path = key_file(tmp_path)
    seen: list[str] = []

    def second(_step: Step) -> None:
        def run() -> None:
            with database.scope(), pytest.raises(errors.Conflict, match="another rotation"):
                Rotation(database, path, tuple).run()
            seen.append("refused")

        other = threading.Thread(target=run)
        other.start()
        other.join()

    Rotation(database, path, tuple, tell=second).run()
    assert seen == ["refused"] * len(Step)


def test_every_sealed_column_is_known_to_the_rotation_and_guarded(database: Database) -> None:
    known = sorted(str(column) for column in sealed.COLUMNS)
    assert [name for (name,) in database.tuples(SEALED)] == known
    guarded = sorted(
        f"{table}.{name.decode()}"
        for table, names in database.tuples(GUARDED)
        for name in bytes(names).split(b"\0")[:-1]
    )
    assert guarded == known
