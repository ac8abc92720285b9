"""Idempotency-Key: one effect, however often a request is sent (api-contract 1.11).

A key is reserved before the handler runs, so that of two first requests at once one runs and the
other one waits for its answer. A successful answer is kept for a day and given again; any other
frees the key. A process that ends in between leaves a reservation, which its lease ends.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import UUID

import falcon
import msgspec

from openwatch import clock, errors, ids, log
from openwatch.db import Database, load
from openwatch.web import decoding
from openwatch.web.operations import Context, Operation

KEPT = 24 * 3600.0  # seconds
LEASE = 120.0  # seconds; longer than any handler takes
MUTATIONS = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_HEADER = "Idempotency-Key"
_PURPOSE = b"openwatch-idempotency-v1"
_REPLAYED = "Idempotency-Replayed"
_MOST_KEY = 255
_MOST_BODY = 1024 * 1024  # bytes of an answer; a longer one is withheld as a secret is
_WAIT = 5.0  # seconds a second request waits for the first one's answer
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25  # seconds between two looks
_SWEEP = 60.0  # seconds between two sweeps by a process

_QUERIES = load("openwatch.web", "idempotency.sql")
_logger = logging.getLogger(__name__)
Work: TypeAlias = Callable[[], None]


class _Reservation(msgspec.Struct, frozen=True):
    actor: str
    key: str
    request_hash: bytes
    owner: UUID


class Keys:
    """The keys, as one process works with them."""

    def __init__(self, threads: int) -> None:
        """Take the number of request threads: at most a quarter of them wait at once."""
        self._waiting = threading.BoundedSemaphore(max(1, threads // 4))
        self._swept_at = clock.monotonic()

    def run(self, ctx: Context, req: falcon.Request, resp: falcon.Response, work: Work) -> None:
        """Let `work` write the response, or write the one that it wrote before.

        Raise InvalidInput (idempotency.key_required), Conflict (idempotency.key_reused,
        idempotency.in_progress).
        """
        operation = ctx.operation
        key = None if operation is None else _key(operation, req)
        if operation is None or key is None or ctx.principal.is_anonymous:
            work()
            return
        db = ctx.services.db
        reservation = _Reservation(_actor(ctx), key, _hash(ctx, req), ids.new_id())
        self._sweep(db)
        if not _reserve(db, reservation) and self._replayed(db, reservation, resp):
            return
        is_kept = False
        try:
            work()
            is_kept = 200 <= resp.status_code < 300 and resp.stream is None
        finally:
            # What has happened is answered, also where the database has just gone: the lease ends it.
            try:
                if is_kept:
                    _keep(db, reservation, resp, is_secret=operation.secret_response)
                else:
                    _release(db, reservation)
            except errors.StorageError as error:
                log.event(
                    _logger,
                    logging.WARNING,
                    "idempotency.not_settled",
                    f"the answer under an Idempotency-Key could not be kept: {error}",
                )

    def _replayed(self, db: Database, wanted: _Reservation, resp: falcon.Response) -> bool:
        """Write the kept answer; False where the key has become free and is now reserved."""
        until, pause = clock.monotonic() + _WAIT, _FIRST_PAUSE
        is_waiting = False
        try:
            while True:
                found = db.row(_QUERIES["found"], actor=wanted.actor, key=wanted.key)
                if found is not None and bytes(found["request_hash"]) != wanted.request_hash:
                    raise _reused("This key was used for another request.", found)
                if found is not None and found["is_answered"]:
                    _replay(found, resp)
                    return True
                if _reserve(db, wanted):
                    return False
                is_waiting = is_waiting or self._waiting.acquire(blocking=False)
                if not is_waiting or clock.monotonic() >= until:
                    raise _in_progress()
                time.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
        finally:
            if is_waiting:
                self._waiting.release()

    def _sweep(self, db: Database) -> None:
        now = clock.monotonic()
        if now - self._swept_at >= _SWEEP:
            self._swept_at = now
            db.run(_QUERIES["sweep"])


def _reserve(db: Database, wanted: _Reservation) -> bool:
    values = msgspec.structs.asdict(wanted)
    return db.value(_QUERIES["reserve"], **values, lease=LEASE, kept=KEPT) is not None


def _key(operation: Operation, req: falcon.Request) -> str | None:
    if operation.method not in MUTATIONS:
        return None
    key = (req.get_header(_HEADER) or "").strip()
    if not key and not operation.idempotency_key:
        return None
    if not 1 <= len(key) <= _MOST_KEY:
        raise errors.InvalidInput(
            f"Send an {_HEADER} header of 1 to {_MOST_KEY} characters.",
            code="idempotency.key_required",
        )
    return key


def _actor(ctx: Context) -> str:
    who = ctx.principal
    return f"token:{who.token_id}" if who.token_id is not None else f"user:{who.user_id}"


def _hash(ctx: Context, req: falcon.Request) -> bytes:
    """Return what a repeated request is known by.

    A body may hold a password: who reads the table alone must not be able to try some, so there is a
    key to it. Where that has been replaced meanwhile, a repeated request counts as another one.
    """
    head = f"{req.method}\n{quote(req.path)}\n{req.query_string}\n"
    key = ctx.services.vault.derive(_PURPOSE)
    return hmac.digest(key, head.encode() + decoding.raw_body(req), hashlib.sha256)


def _keep(
    db: Database, reservation: _Reservation, resp: falcon.Response, *, is_secret: bool
) -> None:
    body = resp.data or b""
    is_withheld = is_secret or len(body) > _MOST_BODY
    db.run(
        _QUERIES["answer"],
        actor=reservation.actor,
        key=reservation.key,
        owner=reservation.owner,
        status=resp.status_code,
        content_type=resp.content_type if body else None,
        body=None if is_withheld or not body else body,
        is_withheld=is_withheld,
        kept=KEPT,
    )


def _release(db: Database, reservation: _Reservation) -> None:
    db.run(
        _QUERIES["release"],
        actor=reservation.actor,
        key=reservation.key,
        owner=reservation.owner,
    )


def _replay(found: dict[str, Any], resp: falcon.Response) -> None:
    if found["is_withheld"]:
        raise _reused(
            "This request has been answered; its answer showed a secret, or was very long, and is"
            " not shown again.",
            found,
        )
    resp.status = found["status"]
    resp.set_header(_REPLAYED, "true")
    if found["body"] is not None:
        resp.content_type = found["content_type"]
        resp.data = bytes(found["body"])


def _reused(sentence: str, found: dict[str, Any]) -> errors.Conflict:
    return errors.Conflict(
        sentence,
        code="idempotency.key_reused",
        first_seen_at=clock.rfc3339(found["first_seen_at"]),
    )


def _in_progress() -> errors.Conflict:
    return errors.Conflict(
        "The first request with this key is still running; ask again for its answer.",
        code="idempotency.in_progress",
        retry_after_seconds=1,
    )
