"""Read and replace settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from openwatch.audit import trail
from openwatch.audit.codes import Code
from openwatch.audit.types import SYSTEM, Actor, Resource
from openwatch.db import Database, load
from openwatch.settings.types import Setting

T = TypeVar("T", bound=msgspec.Struct)
_QUERIES = load("openwatch.settings")


class Current(msgspec.Struct, Generic[T], frozen=True):
    """A setting as it is. `version` is the same for as long as the value is."""

    value: T
    version: str


def get(db: Database, setting: Setting[T]) -> Current[T]:
    """Return a setting as it is, or its default."""
    return _current(setting, db.value(_QUERIES["get"], key=setting.key))


def hold(db: Database, setting: Setting[T]) -> Current[T]:
    """Return a setting as it is, so that nobody else changes it until the transaction ends."""
    default = _encoded(setting.default)
    return _current(setting, db.value(_QUERIES["hold"], key=setting.key, value=default))


def put(
    db: Database,
    setting: Setting[T],
    value: T,
    *,
    actor: Actor = SYSTEM,
    require: Callable[[Current[T]], None] = lambda _: None,
) -> Current[T]:
    """Replace a setting and record it, the old value and the new; the same again is no change.

    `require` is called with what is about to be replaced, once nobody else can change it; what
    it raises leaves everything as it was.
    """
    with db.atomic():
        before = hold(db, setting)
        require(before)
        after = Current(value, _encoded(value))
        if after.version != before.version:
            by = actor.id or actor.label
            db.run(_QUERIES["put"], key=setting.key, value=after.version, by=by)
            trail.record(
                db,
                Code.SYSTEM_CONFIG_CHANGED,
                actor=actor,
                resource=Resource("setting", setting.key),
                config_key=setting.key,
                old_value=_shown(before.value),
                new_value=_shown(value),
                changed_by=by,
            )
    return after


def _current(setting: Setting[T], stored: Any) -> Current[T]:
    kind = type(setting.default)
    value = setting.default if stored is None else msgspec.convert(stored, kind)
    return Current(value, _encoded(value))


def _encoded(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _shown(value: msgspec.Struct) -> dict[str, Any]:
    """Return a value for the trail: names that are data are no names of secrets, such as passwords'."""
    return {
        name: [{"name": key, "value": one} for key, one in sorted(inner.items())]
        if isinstance(inner, dict)
        else inner
        for name, inner in msgspec.to_builtins(value).items()
    }
