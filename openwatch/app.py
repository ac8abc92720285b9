"""The composition root: a configuration in, a running server or worker out.

The only module that knows everyone. It reads as a straight line of constructors; what can be
missing or unreadable stops it before anything is served.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Self

import msgspec

from openwatch import __version__, clock, errors, log
from openwatch.config import PREFIX, Config
from openwatch.db import Database, database_of_models, dsn
from openwatch.db import migrate as migrations
from openwatch.db.connect import connector, open_database
from openwatch.keys import files
from openwatch.rules import change, trust
from openwatch.rules.load import load as load_rules
from openwatch.rules.types import Corpus
from openwatch.vault import Vault

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0  # seconds before a worker that ended is started again; doubles
_LONGEST_PAUSE = 30.0
_HEALTHY = 60.0  # a worker that lived this long starts again at once
_DRAIN = 40.0  # seconds a worker has to end by itself


# -- commands ----------------------------------------------------------------------------------


def migrate(config: Config) -> tuple[str, ...]:
    """Bring the schema up to this program and return the names of what was applied."""
    from openwatch.accounts import roles

    with _database(config) as db:
        applied = migrations.apply(db)
        with db.scope():
            roles.ensure_built_in(db)
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
    from openwatch.web.server import Server
    from openwatch.web.services import Services

    _announce("serve", listen=config.server.listen)
    passwords.use_breach_file(config.identity.breach_file)
    vault, corpus = _vault(config), rules(config)
    tokens = Tokens(files.jwt_keys(Path(config.identity.jwt_private_key)))
    with _database(config) as db:
        migrations.require_current(db)
        with db.scope():
            roles.ensure_built_in(db)
        services = Services(config=config, db=db, vault=vault, tokens=tokens, corpus=corpus)
        server = Server(
            create_app(services, ALL),
            config.server.listen,
            config.server.tls_cert,
            config.server.tls_key,
            threads=config.server.threads,
        )
        server.bind()
        with _signals(server.close, server.reload), Supervisor(config):
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
    from openwatch.jobs.loop import Worker
    from openwatch.jobs.queue import CHANNEL
    from openwatch.keys.signing import signer
    from openwatch.scans.jobs import Scanner

    _announce("worker")
    vault, corpus = _vault(config), rules(config)
    with _database(config) as db:
        migrations.require_current(db)
        with db.scope():
            scan_signer = signer(db, vault)
            change.note(db, corpus)
        scanner = Scanner(db=db, vault=vault, config=config, corpus=corpus, signer=scan_signer)
        listener = Listener(connector(dsn.parse(config.database.dsn)), [CHANNEL])
        running = Worker(
            db,
            listener,
            {"scan": scanner.scan, "filesystem_scan": scanner.scan},
            burials={"scan": scanner.bury, "filesystem_scan": scanner.bury},
            longest=max(config.scan.budget_seconds, config.scan.filesystem_budget_seconds)
            + 600,
            threads=config.server.scan_concurrency,
            poll=config.worker.poll_interval,
        )
        try:
            with _signals(running.stop, lambda: None):
                running.run()
        finally:
            listener.close()
    return 0


def inherited_worker() -> int:
    """Be a worker that `serve` started: configuration and lifeline come on standard input.

    The first line is the parent's resolved configuration; the end of the stream is the parent's
    end, whatever ended it, and then this process ends as on SIGTERM.
    """
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=Config)
    log.configure(config.logging.level, config.logging.format)

    def watch() -> None:
        # Below Python's buffer: its lock, held by a thread, would abort the process at its end.
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_DRAIN)
        os._exit(1)  # it hangs, and nobody is left to end it

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
    return worker(config)


# -- worker processes --------------------------------------------------------------------------


class Supervisor:
    """Keeps `server.workers` worker processes alive for the length of a block."""

    def __init__(self, config: Config) -> None:
        """Take the configuration that the workers inherit."""
        self._line = msgspec.json.encode(config) + b"\n"
        # Whatever the configuration said came by standard input; a password has no second place.
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, name=f"worker-{n}", daemon=True)
            for n in range(config.server.workers)
        ]
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start them."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them: SIGTERM, and SIGKILL for one that does not end in time."""
        self._stopping.set()
        with self._lock:
            children = list(self._children)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        deadline = clock.monotonic() + _DRAIN
        for child in children:
            try:
                child.wait(max(0.1, deadline - clock.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
        for thread in self._threads:
            thread.join(5)

    def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            begun = clock.monotonic()
            code = self._run_one()
            if self._stopping.is_set():
                return
            lived = clock.monotonic() - begun
            pause = _FIRST_PAUSE if lived > _HEALTHY else min(_LONGEST_PAUSE, pause * 2)
            log.event(
                logger,
                logging.ERROR,
                "worker.ended",
                f"a worker process ended with status {code} after {lived:.0f} s;"
                f" starting another one in {pause:.0f} s",
                status=code,
            )
            self._stopping.wait(pause)

    def _run_one(self) -> int:
        with self._lock:
            if self._stopping.is_set():
                return 0
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "openwatch", "worker", "--inherit"],
                stdin=subprocess.PIPE,
                env=self._environment,
            )
            self._children.add(child)
        assert child.stdin is not None  # noqa: S101 - asked for above
        try:
            child.stdin.write(self._line)
            child.stdin.flush()
            return child.wait()
        except BrokenPipeError:
            return child.wait()
        finally:
            with contextlib.suppress(OSError):
                child.stdin.close()
            with self._lock:
                self._children.discard(child)


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


def _vault(config: Config) -> Vault:
    return Vault(files.credential_keys(Path(config.identity.credential_key_file)))


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
