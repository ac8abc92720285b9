"""Which keys stand for what they signed, where some are trusted by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from openwatch.keys import signing
from openwatch.keys.signing import PublicKey


def trusted(keys: Mapping[str, PublicKey], named: Iterable[str]) -> frozenset[str]:
    """Return the named keys that are there, and all that these endorsed, one by way of another."""
    known = set(named) & set(keys)
    waiting = set(keys) - known
    while fresh := {
        key
        for key in waiting
        if (by := keys[key].endorsed_by) in known
        and signing.is_endorsed(keys[key], keys[str(by)])
    }:
        known |= fresh
        waiting -= fresh
    return frozenset(known)


def wrong_with(key: PublicKey, keys: Mapping[str, PublicKey]) -> list[str]:
    """Say what is wrong with a stored key: its name, or the endorsement it claims."""
    if signing.key_id(key.public_key) != key.id:
        return [f"key {key.id}: this is not the fingerprint of the key that is stored there"]
    if key.endorsed_by is None:
        return []
    by = keys.get(key.endorsed_by)
    if by is None or not signing.is_endorsed(key, by):
        return [f"key {key.id}: {key.endorsed_by} has not endorsed it, though it is said to"]
    return []
