"""The vault: what was sealed opens in its place with its key, and nowhere else."""

from __future__ import annotations

import pytest

from openwatch import errors
from openwatch.vault import VERSION, Vault, key_id

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
PLACE = {"table": "credentials", "row": "7", "column": "encrypted_password"}


def test_a_sealed_secret_opens_in_its_place():
    vault = Vault([NEW])
    assert vault.open(vault.seal(b"s3cret", **PLACE), **PLACE) == b"s3cret"


def test_the_envelope_names_its_version_and_its_key_and_hides_the_secret():
    sealed = Vault([NEW]).seal(b"s3cret", **PLACE)
    assert sealed[0] == VERSION
    assert sealed[1:9] == key_id(NEW)
    assert b"s3cret" not in sealed
    assert len(sealed) == 1 + 8 + 12 + len(b"s3cret") + 16


def test_the_same_secret_is_never_sealed_alike_twice():
    vault = Vault([NEW])
    assert vault.seal(b"s3cret", **PLACE) != vault.seal(b"s3cret", **PLACE)


@pytest.mark.parametrize("moved", ["table", "row", "column"])
def test_a_value_moved_to_another_place_does_not_open(moved):
    vault = Vault([NEW])
    sealed = vault.seal(b"s3cret", **PLACE)
    with pytest.raises(errors.SecretUnreadable, match="changed, or moved"):
        vault.open(sealed, **{**PLACE, moved: "other"})


def test_a_changed_byte_does_not_open():
    vault = Vault([NEW])
    sealed = bytearray(vault.seal(b"s3cret", **PLACE))
    sealed[-1] ^= 1
    with pytest.raises(errors.SecretUnreadable):
        vault.open(bytes(sealed), **PLACE)


def test_an_old_key_opens_and_the_new_one_seals():
    sealed = Vault([OLD]).seal(b"s3cret", **PLACE)
    both = Vault([NEW, OLD])
    assert both.open(sealed, **PLACE) == b"s3cret"
    assert both.seal(b"again", **PLACE)[1:9] == key_id(NEW)


def test_a_lost_key_is_named_and_its_fix_too():
    sealed = Vault([OLD]).seal(b"s3cret", **PLACE)
    with pytest.raises(
        errors.SecretUnreadable, match=r"restore that credential\.key"
    ) as caught:
        Vault([NEW]).open(sealed, **PLACE)
    assert key_id(OLD).hex() in str(caught.value)


@pytest.mark.parametrize("junk", [b"", b"\x01short", b"\x02" + bytes(60)])
def test_what_is_no_envelope_is_refused(junk):
    with pytest.raises(errors.SecretUnreadable, match="does not hold a sealed value"):
        Vault([NEW]).open(junk, **PLACE)


@pytest.mark.parametrize("keys", [[], [b"short"], [NEW, b"short"]])
def test_a_key_of_another_length_is_refused(keys):
    with pytest.raises(errors.KeyFileError, match="exactly 32 bytes"):
        Vault(keys)
