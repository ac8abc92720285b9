"""Key files are taken only where nobody else can read or replace them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from openwatch import errors
from openwatch.keys import files, replace, watch
from openwatch.vault import Vault


def _pem(key, encryption=None, form=serialization.PrivateFormat.PKCS8) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, form, encryption or serialization.NoEncryption()
    )
    return pem


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_generated_credential_key_loads_and_seals(tmp_path: Path) -> None:
    path = tmp_path / "credential.key"
    files.generate_credential_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    keys = files.credential_keys(path)
    vault = Vault(keys)
    sealed = vault.seal(b"x", table="t", row=1, column="c")
    assert vault.open(sealed, table="t", row=1, column="c") == b"x"


def test_the_old_credential_key_still_opens(tmp_path: Path) -> None:
    path = _write(tmp_path / "credential.key", b"n" * 32)
    _write(tmp_path / "credential.key.old", b"o" * 32)
    assert files.credential_keys(path) == (b"n" * 32, b"o" * 32)


def test_a_generated_key_for_a_group_is_0640(tmp_path: Path) -> None:
    path = tmp_path / "credential.key"
    files.generate_credential_key(path, group=os.getegid())
    assert path.stat().st_mode & 0o777 == 0o640
    files.credential_keys(path)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = _write(tmp_path / "credential.key", b"n" * 32)
    with pytest.raises(errors.KeyFileError, match="exists already"):
        files.generate_credential_key(path)
    assert path.read_bytes() == b"n" * 32


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        (0o644, "every user"),
        (0o604, "every user"),
        (0o666, "every user"),
        (0o660, "written by its group"),
        (0o620, "written by its group"),
    ],
)
def test_a_loose_mode_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int, says: str
) -> None:
    path = _write(tmp_path / "credential.key", b"n" * 32, mode)
    with pytest.raises(errors.KeyFileError, match=says) as refused:
        files.credential_keys(path)
    assert "chmod 06" in refused.value.message
    command = refused.value.message.split("run: ")[1].replace(
        "root:openwatch", f"{os.geteuid()}:{os.getegid()}"
    )
    subprocess.run(command, shell=True, check=True)
    assert files.credential_keys(path) == (b"n" * 32,)


def test_a_loose_old_key_is_refused_too(tmp_path: Path) -> None:
    path = _write(tmp_path / "credential.key", b"n" * 32)
    _write(tmp_path / "credential.key.old", b"o" * 32, 0o644)
    with pytest.raises(errors.KeyFileError, match=r"credential\.key\.old"):
        files.credential_keys(path)


def test_a_directory_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    path = _write(folder / "credential.key", b"n" * 32)
    folder.chmod(0o777)
    with pytest.raises(errors.KeyFileError, match="chmod 0750"):
        files.credential_keys(path)


def test_a_symlink_is_refused(tmp_path: Path) -> None:
    real = _write(tmp_path / "real", b"n" * 32)
    link = tmp_path / "credential.key"
    link.symlink_to(real)
    with pytest.raises(errors.KeyFileError, match="symbolic link"):
        files.credential_keys(link)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_foreign_owners_and_groups_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "credential.key", b"n" * 32)
    os.chown(path, 12345, -1)
    with pytest.raises(errors.KeyFileError, match="belongs to user id 12345"):
        files.credential_keys(path)
    os.chown(path, 0, 54321)
    path.chmod(0o640)
    with pytest.raises(errors.KeyFileError, match="group 54321"):
        files.credential_keys(path)


def test_a_fifo_or_directory_is_refused_without_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "credential.key"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(errors.KeyFileError, match="not a regular file"):
        files.credential_keys(fifo)
    with pytest.raises(errors.KeyFileError):
        files.credential_keys(tmp_path)


@pytest.mark.parametrize("content", [b"", b"n" * 31, b"n" * 32 + b"\n", b"n" * 64])
def test_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    path = _write(tmp_path / "credential.key", content)
    with pytest.raises(errors.KeyFileError, match="instead of exactly 32"):
        files.credential_keys(path)


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(errors.KeyFileError, match="openssl rand"):
        files.credential_keys(tmp_path / "credential.key")
    with pytest.raises(errors.KeyFileError, match="openssl genpkey"):
        files.jwt_keys(tmp_path / "jwt_private.pem")


def test_jwt_keys_load_in_both_forms_and_with_the_old_one(tmp_path: Path, rsa_key) -> None:
    path = _write(
        tmp_path / "jwt_private.pem",
        _pem(rsa_key, form=serialization.PrivateFormat.TraditionalOpenSSL),
    )
    assert len(files.jwt_keys(path)) == 1
    _write(tmp_path / "jwt_private.old.pem", _pem(rsa_key))
    assert len(files.jwt_keys(path)) == 2


def test_a_generated_jwt_key_loads(tmp_path: Path) -> None:
    path = tmp_path / "jwt_private.pem"
    files.generate_jwt_key(path)
    assert files.jwt_keys(path)[0].key_size >= 2048


def test_weak_foreign_or_encrypted_jwt_keys_are_refused(tmp_path: Path, rsa_key) -> None:
    path = tmp_path / "jwt_private.pem"
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    _write(path, _pem(weak))
    with pytest.raises(errors.KeyFileError, match="RSA 1024"):
        files.jwt_keys(path)
    _write(path, _pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(errors.KeyFileError, match="RSA of at least 2048"):
        files.jwt_keys(path)
    _write(path, _pem(rsa_key, serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(errors.KeyFileError, match="passphrase") as refused:
        files.jwt_keys(path)
    assert "secret" not in refused.value.message
    _write(path, b"not a key")
    with pytest.raises(errors.KeyFileError, match="not a PEM"):
        files.jwt_keys(path)


def test_a_replaced_jwt_key_verifies_on_only_beside_the_key_that_took_its_place(
    tmp_path: Path, rsa_key
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = _write(tmp_path / "jwt_private.pem", _pem(other))
    name = files.jwt_key_id(other.public_key())
    _write(files.replaced(path), files.jwt_pem(rsa_key, replaced_by=name))
    assert len(files.jwt_keys(path)) == 2
    _write(path, files.jwt_pem(files.new_jwt_key()))  # by hand
    assert len(files.jwt_keys(path)) == 1


def test_a_staged_credential_key_opens_and_does_not_seal(tmp_path: Path) -> None:
    path = _write(tmp_path / "credential.key", b"c" * 32)
    _write(files.staged(path), b"n" * 32)
    _write(files.replaced(path), b"c" * 32)  # a copy of the one in use
    assert files.credential_keys(path) == (b"c" * 32, b"n" * 32)


def test_keys_are_read_again_when_their_files_change(tmp_path: Path, caplog) -> None:
    path = _write(tmp_path / "credential.key", b"c" * 32)
    vault, watched = watch.vault(path)
    first = vault.primary
    assert not watched.refresh()
    replace.put(files.staged(path), b"n" * 32, path)
    sealed = Vault([b"n" * 32]).seal(b"x", table="t", row=1, column="c")
    assert vault.open(sealed, table="t", row=1, column="c") == b"x"  # read when it was needed
    replace.put(files.replaced(path), b"c" * 32, path)
    replace.move(files.staged(path), path)
    assert watched.refresh()
    assert vault.key_ids == (Vault([b"n" * 32]).primary, first)
    path.chmod(0o666)
    assert not watched.refresh()  # what was read before stays in use
    assert "every user" in caplog.text
    assert vault.key_ids[1] == first
    path.chmod(0o600)
    assert watched.refresh()


def test_who_may_not_write_beside_a_key_is_told_to_be_root(tmp_path: Path) -> None:
    path = _write(tmp_path / "credential.key", b"c" * 32)
    tmp_path.chmod(0o500)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        acts: tuple[Callable[[], None], ...] = (
            lambda: replace.put(path, b"n" * 32, path),
            lambda: replace.move(path, files.replaced(path)),
            lambda: replace.remove(path),
        )
        for act in acts:
            with pytest.raises(errors.KeyFileError, match="run this as root"):
                act()
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    assert path.read_bytes() == b"c" * 32
