"""Looks at this machine and, over a real sshd, what changes on it between two of them."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from openwatch import errors, ids
from openwatch.accounts.types import EVERYTHING
from openwatch.audit.types import Actor, ActorType
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.db.pages import Page
from openwatch.evidence import manifests
from openwatch.fleet import credentials, discovery, hosts, intelligence
from openwatch.fleet import facts as host_facts
from openwatch.fleet.types import AuthMethod, Host, Scope, Secrets, Transport
from openwatch.health.processes import Heartbeat
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.rules.load import load
from openwatch.rules.types import Corpus
from openwatch.scans import look_now, store
from openwatch.scans.inventory import look
from openwatch.scans.jobs import Scanner
from openwatch.scans.survey import Surveyor
from openwatch.vault import Vault
from tests.ssh.machine import PROGRAM, Sshd

ROOT = os.geteuid() == 0
ADMIN = Actor(ActorType.USER, "1", "anna")
BODY = b"\0\0\0\x0bssh-ed25519\0\0\0 " + b"k" * 32
KEY = f"ssh-ed25519 {base64.b64encode(BODY).decode()}"
AUDITED = Query(
    "audited",
    "what was recorded of discovery",
    "SELECT actor_label, detail FROM audit_events WHERE action = 'host.discovery.completed'"
    " ORDER BY number",
)
HELD = Query("held", "what holds a host back", "SELECT kind, reason FROM host_backoff")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


@pytest.fixture
def vault() -> Vault:
    return Vault([os.urandom(32)])


@pytest.fixture
def surveyor(database: Database, corpus: Corpus, vault: Vault) -> Surveyor:
    config = Config(scan=Scan(allow_local=True, trust_first_host_key=True))
    return Surveyor(db=database, vault=vault, config=config, corpus=corpus)


@pytest.fixture
def machine(database: Database) -> Host:
    new = hosts.NewHost("this-machine", "127.0.0.1")
    return hosts.create(database, new, transport=Transport.LOCAL, scope=EVERYTHING)


def survey(db: Database, surveyor: Surveyor, host: Host) -> None:
    queue.enqueue(db, intelligence.JOB, {}, host=host.key, correlation_id="test-1")
    claim = queue.claim(db, "w", [intelligence.JOB], 60)
    assert claim is not None
    surveyor.survey(claim)


def told(db: Database, word: str) -> set[tuple[str, str]]:
    """What changed whose subject holds a word: others change this machine meanwhile."""
    found, _ = intelligence.events(db, Page(search=word), scope=EVERYTHING)
    return {(one.event_code, one.subject) for one in found}


def test_a_look_says_what_machine_it_is_and_what_is_on_it(database, surveyor, machine) -> None:
    survey(database, surveyor, machine)
    info = discovery.of_host(database, machine.id, scope=EVERYTHING)
    assert info.kernel_release == os.uname().release
    assert info.architecture == os.uname().machine
    assert info.mem_total_mb
    assert info.disk_total_gb
    assert info.os_family
    fresh = info.category_freshness
    assert len(fresh) == 9
    assert fresh["memory"].status == "ok"
    state = intelligence.of_host(database, machine.id, scope=EVERYTHING)
    assert state.snapshot["users"]["root"]["uid"] == 0
    assert state.snapshot["packages"]
    assert state.snapshot["listening_ports"] is not None
    assert state.snapshot["mountpoints"]["/"]
    assert len(state.snapshot["config_hashes"]["/etc/passwd"]) == 64
    assert len(state.category_freshness) == 16
    assert hosts.get(database, machine.id, scope=EVERYTHING).os_family == info.os_family
    (event,) = database.rows(AUDITED)
    assert event["detail"]["kernel_release"] == os.uname().release


class Things:
    """Things that come to this machine and go again."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.name = f"owt{secrets.token_hex(4)}"
        self._stack = stack
        self.port = 0

    def _later(self, *command: str) -> None:
        self._stack.callback(lambda: subprocess.run(command, check=False, capture_output=True))

    def user(self) -> None:
        home = Path("/home") / self.name
        subprocess.run(["useradd", "-m", "-d", home, "-G", "sudo", self.name], check=True)
        self._later("userdel", "-r", self.name)
        (home / ".ssh").mkdir()
        (home / ".ssh/authorized_keys").write_text(
            f'# {KEY}x no key\ncommand="/bin/true --token=hidden" {KEY} a comment\n'
        )

    def listener(self) -> None:
        opened = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port = opened.getsockname()[1]

    def mount(self) -> None:
        place = Path("/mnt") / self.name
        place.mkdir()
        self._stack.callback(place.rmdir)
        subprocess.run(["mount", "-t", "tmpfs", self.name, place], check=True)
        self._later("umount", str(place))

    def rule(self) -> None:
        file = Path("/etc/sudoers.d") / self.name
        file.write_text(f"{self.name} ALL=(ALL) NOPASSWD: /bin/true\n")
        file.chmod(0o440)
        self._stack.callback(file.unlink)

    def package(self, version: str, folder: Path) -> None:
        tree = folder / version / "DEBIAN"
        tree.mkdir(parents=True)
        tree.parent.chmod(0o755)
        tree.chmod(0o755)
        (tree / "control").write_text(
            f"Package: {self.name}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: nobody <nobody@example.org>\nDescription: none\n"
        )
        file = folder / f"{version}.deb"
        run = subprocess.run
        run(["dpkg-deb", "-b", tree.parent, file], check=True, capture_output=True)
        run(["dpkg", "-i", file], check=True, capture_output=True)
        self._later("dpkg", "-P", self.name)


@pytest.fixture
def things() -> Iterator[Things]:
    if not ROOT or not shutil.which("useradd") or not shutil.which("dpkg-deb"):
        pytest.skip("needs root, useradd and dpkg-deb")
    with contextlib.ExitStack() as stack:
        yield Things(stack)


def test_what_changes_between_two_looks_is_told_once(
    database, surveyor, machine, things, tmp_path
) -> None:
    things.package("1.0", tmp_path)
    survey(database, surveyor, machine)
    assert told(database, "") == set()
    things.package("2.0", tmp_path)
    things.user()
    things.listener()
    things.mount()
    things.rule()
    survey(database, surveyor, machine)
    name = things.name
    found = told(database, name)
    fingerprint = next(s for c, s in found if c == "account.ssh_key.added")
    assert fingerprint.startswith(f"{name} SHA256:")
    assert found >= {
        ("system.package.updated", f"{name}.all"),
        ("account.user.created", name),
        ("account.user.privileged_group_added", f"{name} sudo"),
        ("account.ssh_key.added", fingerprint),
        ("system.filesystem.mounted", f"/mnt/{name}"),
        ("system.config.file_changed", f"/etc/sudoers.d/{name}"),
    }
    assert ("security.port.opened", f"tcp 127.0.0.1:{things.port}") in told(database, "tcp")
    assert ("system.config.file_changed", "/etc/passwd") in told(database, "/etc/passwd")
    state = intelligence.of_host(database, machine.id, scope=EVERYTHING)
    assert len(state.snapshot["users"][name]["ssh_keys"]) == 1
    assert "hidden" not in str(state.snapshot)
    before = len(told(database, name))
    survey(database, surveyor, machine)
    assert len(told(database, name)) == before


def test_a_scan_looks_on_its_way_and_keeps_no_evidence_of_it(
    database, corpus, vault, machine
) -> None:
    config = Config(scan=Scan(allow_local=True))
    scanner = Scanner(
        db=database, vault=vault, config=config, corpus=corpus, signer=signer(database, vault)
    )
    manifest = []
    for _ in range(2):
        store.request(database, machine.id, trigger=store.Trigger.ON_DEMAND, scope=EVERYTHING)
        claim = queue.claim(database, "w", [store.JOB], 60)
        assert claim is not None
        scanner.scan(claim)
        manifest.append(store.find(database, claim.id, scope=EVERYTHING).manifest)
    assert intelligence.of_host(database, machine.id, scope=EVERYTHING).snapshot["packages"]
    facts = host_facts.of_host(database, machine.key)
    assert facts is not None
    beside = {
        probe.id
        for probe in look.probes(facts)
        if "/proc/uptime" in probe.script or "sha256sum" in probe.script
    }
    assert beside
    assert manifest[0] is not None
    assert not beside & {entry.probe for entry in manifests.load(database, manifest[0])}
    assert discovery.look_when_due(database) == 0


@pytest.fixture
def refused_port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def test_a_host_that_cannot_be_asked_is_left_alone_for_a_while(
    database, surveyor, vault, refused_port
) -> None:
    new = hosts.NewHost("web-1", "127.0.0.1", port=refused_port)
    host = hosts.create(database, new, scope=EVERYTHING)
    assert discovery.look_when_due(database) == 1
    claim = queue.claim(database, "w", [intelligence.JOB], 60)
    assert claim is not None
    surveyor.survey(claim)
    job = queue.find(database, claim.id)
    assert job is not None
    assert job.status == "completed"
    assert job.progress is not None
    assert job.progress["reason"] == "credentials.none_available"
    assert database.rows(HELD) == [
        {"kind": "intelligence", "reason": "credentials.none_available"}
    ]
    assert discovery.look_when_due(database) == 0
    store_credential(database, vault, "scan", "x" * 12)
    assert discovery.look_when_due(database) == 1
    assert host.os_discovered_at is None


def store_credential(
    db: Database, vault: Vault, user: str, password: str = "", key: str = ""
) -> None:
    credentials.create(
        db,
        vault,
        credentials.NewCredential(
            scope=Scope.SYSTEM,
            name="all",
            username=user,
            auth_method=AuthMethod.SSH_KEY if key else AuthMethod.PASSWORD,
            secrets=Secrets(password=password or None, private_key=key or None),
            is_default=True,
        ),
        scope=EVERYTHING,
    )


# -- somebody who waits ------------------------------------------------------------------------


@pytest.fixture
def worker(
    database: Database, surveyor: Surveyor
) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Run a worker of one thread for the length of a block."""

    @contextlib.contextmanager
    def run() -> Iterator[None]:
        stopping = threading.Event()

        def work() -> None:
            while not stopping.wait(0.02):
                with database.scope():
                    claim = queue.claim(database, "w", [intelligence.JOB], 60)
                if claim is not None:
                    surveyor.survey(claim)

        thread = threading.Thread(target=work)
        with Heartbeat(database, "worker", tuple):
            thread.start()
            try:
                yield
            finally:
                stopping.set()
                thread.join(30)

    return run


def ask(db: Database, host: Host, patience: float = 30.0) -> None:
    look_now.look_now(
        db, host.id, scope=EVERYTHING, actor=ADMIN, correlation_id="req-1", patience=patience
    )


def test_who_asks_for_a_look_waits_for_it_and_is_named(database, worker, machine) -> None:
    discovery.look_when_due(database)  # one waits by the clock already
    with worker():
        ask(database, machine)
        ask(database, machine)
    assert discovery.of_host(database, machine.id, scope=EVERYTHING).kernel_release
    assert [row["actor_label"] for row in database.rows(AUDITED)] == ["anna", "anna"]


def test_who_asks_is_told_why_a_host_could_not_be_asked(
    database, worker, vault, refused_port
) -> None:
    new = hosts.NewHost("web-1", "127.0.0.1", port=refused_port)
    host = hosts.create(database, new, scope=EVERYTHING)
    with worker():
        with pytest.raises(errors.HostError) as none:
            ask(database, host)
        assert not none.value.retryable
        assert none.value.detail["reason"] == "credentials.none_available"
        store_credential(database, vault, "scan", "x" * 12)
        with pytest.raises(errors.HostUnreachable) as refused:
            ask(database, host)
    assert refused.value.retryable
    assert str(refused_port) in refused.value.message


def test_without_a_worker_nobody_waits(database, machine) -> None:
    with pytest.raises(errors.Overloaded, match="No worker runs"):
        ask(database, machine)
    with pytest.raises(errors.NotFound):
        ask(database, msgspec.structs.replace(machine, id=ids.new_id()))


def test_a_worker_that_is_too_busy_is_not_waited_for_for_ever(database, machine) -> None:
    with Heartbeat(database, "worker", tuple), pytest.raises(errors.Overloaded):
        ask(database, machine, patience=0.2)
    assert queue.claim(database, "w", [intelligence.JOB], 60) is not None


def test_over_ssh_it_is_the_same(database, surveyor, vault, worker) -> None:
    if PROGRAM is None:
        pytest.skip("sshd is not installed (openssh-server)")
    server = Sshd()
    try:
        server.start()
        new = hosts.NewHost("web-1", "127.0.0.1", port=server.port)
        host = hosts.create(database, new, scope=EVERYTHING)
        store_credential(database, vault, server.user, key=server.private_key)
        with worker():
            ask(database, host)
        state = intelligence.of_host(database, host.id, scope=EVERYTHING)
        ports = {one["port"] for one in state.snapshot["listening_ports"]}
        assert server.port in ports
    finally:
        server.remove()
