"""The composition root: a configuration in, a running server or worker out.

The only module that knows everyone. It reads as a straight line of constructors; what can be
missing or unreadable stops it before anything is served.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from openwatch import __version__, errors, log
from openwatch.audit import life
from openwatch.config import Config
from openwatch.db import Database, database_of_models, dsn
from openwatch.db import migrate as migrations
from openwatch.db.connect import connector, open_database
from openwatch.health.processes import Heartbeat, Kind
from openwatch.jobs import supervisor
from openwatch.jobs.periodic import Clock, Periodic
from openwatch.keys import sealed, watch
from openwatch.keys.signing import SigningKey
from openwatch.rules import change, trust
from openwatch.rules.load import load as load_rules
from openwatch.rules.types import Corpus
from openwatch.vault import Vault

logger = logging.getLogger(__name__)


# -- commands ----------------------------------------------------------------------------------


def migrate(config: Config) -> tuple[str, ...]:
    """Bring the schema up to this program and return the names of what was applied."""
    from openwatch.accounts import roles

    with _database(config) as db:
        applied = migrations.apply(db)
        with db.scope():
            roles.ensure_built_in(db)
            life.migrated(db)
        return applied


def status(config: Config) -> migrations.State:
    """Return where the schema stands."""
    with _database(config) as db:
        return migrations.status(db)


@contextlib.contextmanager
def administration(config: Config) -> Iterator[Database]:
    """Give a command that changes accounts or hosts a current database, in scope."""
    from openwatch.accounts import passwords

    passwords.use_breach_file(config.identity.breach_file)
    with _database(config) as db:
        migrations.require_current(db)
        with db.scope():
            yield db


def serve(config: Config) -> int:
    """Serve HTTPS and supervise the workers until told to stop; return the exit status."""
    from openwatch.accounts import passwords, roles
    from openwatch.accounts.tokens import Tokens
    from openwatch.web.api import ALL
    from openwatch.web.app import create_app
    from openwatch.web.plain import MetricsServer
    from openwatch.web.server import Server
    from openwatch.web.services import Services

    _announce("serve", listen=config.server.listen)
    passwords.use_breach_file(config.identity.breach_file)
    (vault, credential_keys), corpus = _vault(config), rules(config)
    jwt_keys = watch.jwt_keys(Path(config.identity.jwt_private_key))
    tokens = Tokens(jwt_keys.keys(), jwt_keys.refresh)
    jwt_keys.used_by(tokens.use)
    with _database(config) as db:
        migrations.require_current(db)
        with db.scope():
            roles.ensure_built_in(db)
            sealed.require_not_retired(db, vault.primary)
            sealed.tell_lost(db, vault)
            note_pauses(db)
        services = Services(config=config, db=db, vault=vault, tokens=tokens, corpus=corpus)
        server = Server(
            create_app(services, ALL),
            config.server.listen,
            config.server.tls_cert,
            config.server.tls_key,
            threads=config.server.threads,
        )
        server.bind()
        metrics = MetricsServer(
            config.server.metrics_listen, lambda: services.metrics.text(services)
        )
        with (
            _signals(server.close, server.reload),
            watch.Watch(credential_keys, jwt_keys),
            _audited(config, db, vault),
            _heartbeat(db, "serve", vault, credential_keys),
            Clock(db, periodic(SigningKey(db, vault, "scan"))),
            contextlib.closing(services.events),
            metrics,
            supervisor.Supervisor(config),
        ):
            _settle()
            log.event(
                logger,
                logging.INFO,
                "serve.ready",
                f"https on {config.server.listen} is ready",
                workers=config.server.workers,
            )
            server.run()
    log.event(logger, logging.INFO, "serve.stopped", "stopped")
    return 0


def worker(config: Config) -> int:
    """Run jobs until told to stop; return the exit status."""
    from openwatch.db.listen import Listener
    from openwatch.fleet import intelligence
    from openwatch.health import trial
    from openwatch.jobs.loop import Worker
    from openwatch.jobs.queue import CHANNEL, STOPPED
    from openwatch.scans.jobs import Scanner
    from openwatch.scans.survey import Surveyor

    _announce("worker")
    (vault, credential_keys), corpus = _vault(config), rules(config)
    with _database(config) as db:
        migrations.require_current(db)
        with db.scope():
            sealed.require_not_retired(db, vault.primary)
            change.note(db, corpus)
        signing_key = SigningKey(db, vault, "scan")
        scanner = Scanner(db=db, vault=vault, config=config, corpus=corpus, signer=signing_key)
        surveyor = Surveyor(db=db, vault=vault, config=config, corpus=corpus)
        listener = Listener(connector(dsn.parse(config.database.dsn)), [CHANNEL, STOPPED])
        running = Worker(
            db,
            listener,
            {
                "scan": scanner.scan,
                "filesystem_scan": scanner.scan,
                intelligence.JOB: surveyor.survey,
                trial.TYPE: trial.Trial(db).run,
            },
            burials={"scan": scanner.bury, "filesystem_scan": scanner.bury},
            stops={"scan": scanner.stop, "filesystem_scan": scanner.stop},
            longest=max(config.scan.budget_seconds, config.scan.filesystem_budget_seconds)
            + 600,
            threads=config.server.scan_concurrency,
            lease=config.worker.lease_seconds,
            poll=config.worker.poll_interval,
        )
        try:
            with (
                _signals(running.stop, lambda: None),
                watch.Watch(credential_keys),
                life.running(db, "worker"),
                _heartbeat(db, "worker", vault, credential_keys),
                Clock(db, periodic(signing_key)),
            ):
                _settle()
                running.run()
        finally:
            listener.close()
    return 0


def inherited_worker() -> int:
    """Be a worker that `serve` started: its configuration comes from there, and its end."""
    config = supervisor.inherited()
    log.configure(config.logging.level, config.logging.format)
    return worker(config)


# -- what returns by itself --------------------------------------------------------------------

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def periodic(signing_key: SigningKey) -> Mapping[str, Periodic]:
    """Return what is done again and again, in whichever process keeps the clock."""
    from openwatch.accounts import sweeping as sign_ins
    from openwatch.fleet import discovery
    from openwatch.health import processes
    from openwatch.jobs import queue
    from openwatch.posture import upkeep
    from openwatch.scans import retention, schedule
    from openwatch.stream import journal
    from openwatch.web import sweeping as requests

    return {
        "scans.dispatch": Periodic(schedule.EVERY, schedule.dispatch),
        "intelligence.dispatch": Periodic(schedule.EVERY, discovery.look_when_due),
        "history.months": Periodic(_DAY, upkeep.make_months),
        "history.forget": Periodic(
            _DAY, lambda db: retention.forget(db, signing_key.current())
        ),
        "queue.sweep": Periodic(_HOUR, queue.sweep),
        "stream.sweep": Periodic(_MINUTE, journal.sweep),
        "processes.sweep": Periodic(_MINUTE, processes.sweep),
        "requests.sweep": Periodic(_MINUTE, requests.sweep),
        "sign_ins.sweep": Periodic(_HOUR, sign_ins.sweep),
    }


def note_pauses(db: Database) -> None:
    """Say in the log what is paused by a setting: a clock that stands still looks like a dead one."""
    from openwatch.settings import clocks, store

    paused = {
        "scan": store.get(db, clocks.SCAN).value.is_paused,
        "intelligence": store.get(db, clocks.INTELLIGENCE).value.is_paused,
        "discovery": store.get(db, clocks.DISCOVERY).value.is_paused,
    }
    for name in (name for name, is_paused in paused.items() if is_paused):
        log.event(
            logger,
            logging.WARNING,
            "clock.paused",
            f"{name} is paused by its setting: nothing of it happens by itself until"
            f" PUT /api/v1/system/{name}/config says otherwise",
            setting=name,
        )


# -- parts -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _database(config: Config) -> Iterator[Database]:
    settings = config.database
    db = open_database(
        dsn.parse(settings.dsn),
        max_connections=settings.max_connections,
        statement_timeout=settings.statement_timeout,
    )
    database_of_models.initialize(db)
    try:
        yield db
    finally:
        db.close_all()


@contextlib.contextmanager
def _audited(config: Config, db: Database, vault: Vault) -> Iterator[None]:
    """Seal and forward the audit trail for the length of a block; say in it that the server runs."""
    from openwatch.audit import chain, receivers
    from openwatch.audit.forward import Forwarder
    from openwatch.audit.sealer import Sealer

    with contextlib.ExitStack() as stack:
        for receiver in receivers.configured(config.audit):
            stack.enter_context(Forwarder(db, receiver))
        stack.enter_context(Sealer(db, SigningKey(db, vault, chain.PURPOSE)))
        stack.enter_context(life.running(db, "serve"))
        yield


def _heartbeat(
    db: Database, kind: Kind, vault: Vault, credential_keys: watch.Watched[bytes]
) -> Heartbeat:
    heartbeat = Heartbeat(db, kind, lambda: vault.key_ids)
    credential_keys.used_by(lambda _keys: heartbeat.beat_soon())
    return heartbeat


def _vault(config: Config) -> tuple[Vault, watch.Watched[bytes]]:
    return watch.vault(Path(config.identity.credential_key_file))


def rules(config: Config) -> Corpus:
    """Return the rules of the program and of `rules.directories`, which only root may write."""
    directories = [Path(directory) for directory in config.rules.directories]
    trust.require(directories)
    corpus = load_rules(directories)
    for problem in corpus.problems:
        log.event(
            logger,
            logging.WARNING,
            "rules.problem",
            f"{problem.file}:{problem.line}: {problem.message}",
        )
    if not corpus.rules:
        raise errors.ConfigError(
            "no rule could be loaded; check rules.directories and the installation"
        )
    log.event(
        logger,
        logging.INFO,
        "rules.loaded",
        f"{len(corpus.rules)} rules and {len(corpus.frameworks)} frameworks",
        corpus=corpus.hash.hex(),
        problems=len(corpus.problems),
    )
    return corpus


def _settle() -> None:
    """Keep what starting has made out of the collector's way, and give back what only starting needed."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError, OSError):  # other C libraries than GNU's have none
        ctypes.CDLL(None).malloc_trim(0)


def _announce(what: str, **fields: object) -> None:
    log.event(
        logger,
        logging.INFO,
        f"{what}.starting",
        f"openwatch {__version__} {what} is starting",
        version=__version__,
        **fields,
    )


@contextlib.contextmanager
def _signals(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT stop in order, SIGHUP reloads; put back as they were afterwards."""

    def on_stop(_number: int, _frame: FrameType | None) -> None:
        stop()

    def on_reload(_number: int, _frame: FrameType | None) -> None:
        reload()

    wanted = {signal.SIGTERM: on_stop, signal.SIGINT: on_stop, signal.SIGHUP: on_reload}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
