"""A scan from the queue to the commit: this machine, a real database, the real rules."""

from __future__ import annotations

import os

import pytest

from openwatch import errors
from openwatch.accounts.types import EVERYTHING
from openwatch.checks.types import Reason
from openwatch.config import Config
from openwatch.config.schema import Scan
from openwatch.db import Database, Query
from openwatch.evidence import blobs, records
from openwatch.evidence.verify import verify
from openwatch.fleet import credentials, hosts
from openwatch.fleet.hosts import NewHost
from openwatch.fleet.types import AuthMethod, Scope, Secrets, Transport
from openwatch.jobs import queue
from openwatch.keys.signing import signer
from openwatch.posture import history
from openwatch.rules.load import load
from openwatch.scans import agreement, store
from openwatch.scans.jobs import Scanner
from openwatch.vault import Vault

COUNT = Query("count", "rows of findings", "SELECT count(*) FROM findings")
WRITTEN = Query(
    "written", "newest row version", "SELECT coalesce(max(xmin::text::bigint), 0) FROM findings"
)
STORED = Query(
    "stored",
    "bytes of evidence and of scans",
    """SELECT (SELECT sum(length(bytes)) FROM blobs) + (SELECT sum(length(bytes)) FROM manifests)
            + (SELECT sum(pg_column_size(s.*)) FROM scans s)""",
)


@pytest.fixture(scope="module")
def corpus():
    return load()


@pytest.fixture
def vault():
    return Vault([os.urandom(32)])


@pytest.fixture
def make_scanner(database: Database, corpus, vault):
    def make(*, allow_local: bool = True) -> Scanner:
        config = Config(scan=Scan(allow_local=allow_local))
        sign = signer(database, vault)
        return Scanner(db=database, vault=vault, config=config, corpus=corpus, signer=sign)

    return make


@pytest.fixture
def machine(database: Database):
    new = NewHost(hostname="this-machine", ip_address="127.0.0.1")
    return hosts.create(database, new, transport=Transport.LOCAL, scope=EVERYTHING)


def claimed(db: Database, host):
    store.request(
        db, host.id, trigger=store.Trigger.ON_DEMAND, correlation_id="test-1", scope=EVERYTHING
    )
    claim = queue.claim(db, "this-worker", [store.JOB], 60)
    assert claim is not None
    return claim


def test_a_scan_ends_in_findings_scores_and_evidence(database, make_scanner, machine, corpus):
    claim = claimed(database, machine)
    make_scanner().scan(claim)

    posture = history.as_of(database, scope=EVERYTHING)
    (host,) = posture.fresh
    assert host.name == "this-machine"
    assert posture.counts.passed + posture.counts.failed > 50
    findings = history.findings_of(database, host.key, scope=EVERYTHING)
    scan = store.find(database, claim.id, scope=EVERYTHING)
    assert scan.status == "completed"
    assert scan.complete
    assert scan.rules_pass + scan.rules_fail + scan.rules_error + scan.rules_skipped == len(
        findings
    )
    assert all(f.reason != Reason.PLATFORM for f in findings)
    assert all(f.confirmed_at == host.last_scan_at for f in findings)
    assert scan.corpus is not None
    assert blobs.load(database, scan.corpus) == corpus.document
    job = queue.find(database, claim.id)
    assert job is not None
    assert job.status == "completed"
    assert not verify(database, records.hosts(database)).is_broken
    assert list(agreement.disagreements(database, host.key)) == []


def test_a_second_scan_of_an_unchanged_machine_writes_no_finding_and_hardly_any_byte(
    database, make_scanner, machine
):
    scanner = make_scanner()
    scanner.scan(claimed(database, machine))
    before = database.value(COUNT), database.value(WRITTEN)
    stored = database.value(STORED)
    scanner.scan(claimed(database, machine))
    assert (database.value(COUNT), database.value(WRITTEN)) == before
    assert len(history.as_of(database, scope=EVERYTHING).fresh) == 1
    assert verify(database, records.hosts(database)).hosts[0].scans == 2
    new = database.value(STORED) - stored
    print(f"first scan {stored} bytes, second {new}, {100 * new / stored:.1f} %")
    assert new <= stored * 0.05


def test_a_worker_that_lost_its_claim_writes_nothing(database, make_scanner, machine):
    claim = claimed(database, machine)
    database.run(Query("x", "another took it", "UPDATE job_queue SET attempt = attempt + 1"))
    with pytest.raises(errors.LeaseLost):
        make_scanner().scan(claim)
    assert database.value(COUNT) == 0
    assert history.as_of(database, scope=EVERYTHING).fresh == ()


def test_this_machine_is_refused_where_the_configuration_does_not_permit_it(
    database, make_scanner, machine
):
    claim = claimed(database, machine)
    with pytest.raises(errors.TransportRefused, match=r"scan\.allow_local"):
        make_scanner(allow_local=False).scan(claim)
    scan = store.find(database, claim.id, scope=EVERYTHING)
    assert scan.reason == "host.transport_refused"
    assert database.value(COUNT) == 0


def test_a_host_without_a_credential_says_how_to_add_one(database, make_scanner):
    host = hosts.create(
        database, NewHost(hostname="web-1", ip_address="127.0.0.1"), scope=EVERYTHING
    )
    claim = claimed(database, host)
    with pytest.raises(errors.NoCredential, match="/api/v1/credentials"):
        make_scanner().scan(claim)


def test_an_unreachable_host_is_one_failed_scan_with_a_reason(
    database, make_scanner, vault, refused_port
):
    new = NewHost(hostname="web-1", ip_address="127.0.0.1", port=refused_port)
    host = hosts.create(database, new, scope=EVERYTHING)
    credentials.create(
        database,
        vault,
        credentials.NewCredential(
            scope=Scope.SYSTEM,
            name="all",
            username="scan",
            auth_method=AuthMethod.PASSWORD,
            secrets=Secrets(password="x" * 12),
            is_default=True,
        ),
        scope=EVERYTHING,
    )
    scanner = make_scanner()
    claim = claimed(database, host)
    with pytest.raises(errors.HostUnreachable) as caught:
        scanner.scan(claim)
    with database.atomic():
        job = queue.fail(database, claim, caught.value.message, retryable=False)
        scanner.bury(job)
    scan = store.find(database, claim.id, scope=EVERYTHING)
    assert scan.status == "failed"
    assert scan.reason == "host.unreachable"
    assert str(refused_port) in scan.message
    assert database.value(COUNT) == 0


@pytest.fixture
def refused_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound, not listening: refused for the test's length
