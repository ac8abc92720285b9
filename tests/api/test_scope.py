"""Every question about hosts that the API asks goes through the caller's scope."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openwatch import errors, ids
from openwatch.accounts.types import EVERYTHING, Scope
from openwatch.db import Query
from openwatch.fleet import credentials, host_keys, hosts
from openwatch.fleet.credentials import NewCredential
from openwatch.fleet.host_keys import seen
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, Secrets
from openwatch.fleet.types import Scope as CredentialScope
from openwatch.posture import history
from openwatch.scans import store
from openwatch.ssh.keys import host_key
from openwatch.web import api

ROOMS = ("openwatch.fleet", "openwatch.posture", "openwatch.scans", "openwatch.evidence")
# These take what was found, or is held, within the scope.
GIVEN = {
    "openwatch.scans.store.record",
    "openwatch.scans.store.answers",
    "openwatch.fleet.credential_changes.remove",
    # These are about the clock of all hosts, which is nobody's alone.
    "openwatch.scans.schedule.respread",
    "openwatch.scans.schedule.require_timezone",
}
NOBODY = Scope(groups=(ids.new_id(),))  # a group that no host is in
KEY = host_key("ssh-ed25519", b"a key")


def asked() -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Every function of the rooms about hosts that a module of the API calls."""
    for file in sorted(Path(next(iter(api.__path__))).glob("*.py")):
        tree = ast.parse(file.read_text())
        names: dict[str, Any] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(ROOMS):
                for alias in node.names:
                    names[alias.asname or alias.name] = _imported(node.module or "", alias.name)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            found = None
            if isinstance(called, ast.Name):
                found = names.get(called.id)
            elif isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                found = getattr(names.get(called.value.id), called.attr, None)
            if inspect.isfunction(found):
                yield f"{file.name}:{node.lineno}", ast.unparse(node), found


def _imported(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    if hasattr(found, name):
        return getattr(found, name)
    return importlib.import_module(f"{module}.{name}")


def test_every_question_about_hosts_names_the_callers_scope() -> None:
    count, wrong = 0, []
    for where, call, function in asked():
        taken = inspect.signature(function).parameters
        if "db" not in taken or f"{function.__module__}.{function.__name__}" in GIVEN:
            continue
        count += 1
        scope = taken.get("scope")
        is_required = scope is not None and scope.default is inspect.Parameter.empty
        if not is_required or not re.search(r"scope=(\w+\.)*scope\b", call):
            wrong.append((where, call))
    assert not wrong
    assert count > 20


def test_what_is_out_of_scope_is_not_there(services) -> None:
    db = services.db
    host = hosts.create(db, NewHost("web-1", "192.0.2.7"), scope=EVERYTHING)
    seen(db, host.key, KEY)
    new = NewCredential(
        CredentialScope.HOST, "own", "u", AuthMethod.PASSWORD, Secrets("x" * 12), host.id
    )
    own = credentials.create(db, services.vault, new, scope=EVERYTHING)
    scan = store.request(db, host.id, trigger=store.Trigger.ON_DEMAND, scope=EVERYTHING)
    for scope, is_there in ((EVERYTHING, True), (NOBODY, False)):
        assert bool(hosts.listed(db, scope=scope)) is is_there
        assert bool(host_keys.listed(db, host.id, scope=scope)[0]) is is_there
        assert bool(credentials.listed(db, scope=scope)[0]) is is_there
        assert bool(credentials.resolve(db, host.id, scope=scope)) is is_there
        assert bool(store.latest(db, scope=scope)) is is_there
        assert bool(store.of_host(db, host.key, scope=scope)[0]) is is_there
        assert (history.hosts_now(db, scope=scope)[0] != "[]") is is_there
        assert bool(history.as_of(db, scope=scope).never) is is_there
    for refused in (
        lambda: hosts.get(db, host.id, scope=NOBODY),
        lambda: hosts.change(db, host.id, {"port": 2}, scope=NOBODY),
        lambda: hosts.remove(db, host.id, scope=NOBODY),
        lambda: credentials.get(db, own.id, scope=NOBODY),
        lambda: host_keys.approve(db, host.id, KEY.fingerprint, "x", scope=NOBODY),
        lambda: store.find(db, scan.id, scope=NOBODY),
        lambda: store.request(db, host.id, trigger=store.Trigger.ON_DEMAND, scope=NOBODY),
    ):
        with pytest.raises(errors.NotFound):
            refused()
    with pytest.raises(errors.InvalidInput):
        hosts.create(db, NewHost("b", "::1", jump_hosts=(host.id,)), scope=NOBODY)
    with pytest.raises(errors.InvalidInput):
        credentials.create(db, services.vault, new, scope=NOBODY)


def test_the_scope_of_everything_costs_nothing(services) -> None:
    query = history._QUERIES["hosts_at"]
    explain = Query("explain", "the plan", "")
    explain.sql, explain.parameters = f"EXPLAIN VERBOSE {query.sql}", query.parameters
    values = {"at": history._OPEN, "lens": "all", "lane": "config"}
    rows = services.db.tuples(explain, **values, hosts=None, environment=None, groups=None)
    assert "in_scope" not in str(rows)
    assert "in_scope" in query.sql
