"""Passwords that nobody may take: the package's list, and a file searched where it lies."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from openwatch import errors
from openwatch.accounts import breach, passwords


def _digest(password: str) -> str:
    return hashlib.sha1(password.encode()).hexdigest().upper()


def _file(folder: Path, words: list[str], *, counts: bool = True, end: str = "\r\n") -> Path:
    path = folder / "breached.txt"
    lines = sorted(_digest(word) for word in words)
    path.write_bytes("".join(line + (":7" if counts else "") + end for line in lines).encode())
    return path


def test_the_list_of_the_package_has_thirty_thousand_passwords_in_any_case() -> None:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    assert len(set(FREQUENCY_LISTS["passwords"])) >= 30_000
    for word in ("12345678", "Password1", "BASEBALL", "trustno1"):
        assert breach.is_common(word), word
    for word in ("correct horse battery", "12345678\npassword", "", "123456789 password"):
        assert not breach.is_common(word), word


def test_the_package_is_not_loaded_until_a_password_is_set_and_not_kept() -> None:
    program = (
        "import sys\n"
        "from openwatch.accounts import passwords, users\n"
        "assert 'zxcvbn' not in sys.modules\n"
        "passwords.require_acceptable('correct horse battery')\n"
        "assert 'zxcvbn.matching' not in sys.modules\n"
        "from openwatch.accounts import breach\n"
        "assert len(breach._packed()) < 400_000\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 50, 1000])
def test_every_password_of_a_file_is_found_and_no_other(
    tmp_path: Path, counts: bool, end: str, size: int
) -> None:
    words = [f"word {n}" for n in range(size)]
    file = breach.File(_file(tmp_path, words, counts=counts, end=end))
    assert all(file.holds(word) for word in words[:100])
    assert not any(file.holds(f"other {n}") for n in range(100))


def test_a_file_needs_no_end_of_line_at_its_end_and_may_be_of_small_letters(
    tmp_path: Path,
) -> None:
    path = _file(tmp_path, ["a", "b", "c"])
    path.write_bytes(path.read_bytes().rstrip().lower())
    assert all(breach.File(path).holds(word) for word in ("a", "b", "c"))


def test_a_search_reads_little_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("w") as out:
        out.writelines(f"{n:040X}:3\n" for n in range(200_000))
    reads = 0
    real = breach._line_from

    def counted(*arguments: object) -> bytes | None:
        nonlocal reads
        reads += 1
        return real(*arguments)  # type: ignore[arg-type]

    file = breach.File(path)
    breach._line_from = counted  # type: ignore[assignment]
    try:
        assert not file.holds("anything")
    finally:
        breach._line_from = real
    assert reads < 30


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"password\n123456\n", "has at byte 0 no line of the form SHA-1:count"),
        (b"\x00" * 500, "no line of the form"),
        (b"".join(b"%040X:1\n" % n for n in range(200, 0, -1)), "is not ordered by hash"),
        (b"%032X:1\n" % 7, "no line of the form"),  # the NTLM list
    ],
)
def test_a_file_of_another_form_is_refused_with_its_name(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "wrong"
    path.write_bytes(content)
    with pytest.raises(errors.ConfigError, match=said) as refused:
        breach.File(path)
    assert "identity.breach_file" in refused.value.message
    assert str(path) in refused.value.message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="cannot be read: No such file"):
        passwords.use_breach_file(str(tmp_path / "none"))


def test_a_password_of_the_file_is_refused_by_the_code_that_is_asked_for(
    tmp_path: Path,
) -> None:
    passwords.use_breach_file(str(_file(tmp_path, ["a rare but breached one"])))
    try:
        with pytest.raises(errors.InvalidInput, match="known ones") as refused:
            passwords.require_acceptable(
                "a rare but breached one", code="validation.password_policy"
            )
        assert refused.value.code == "validation.password_policy"
        assert "rare" not in refused.value.message
        passwords.require_acceptable("a rare and unknown one")
    finally:
        passwords.use_breach_file("")
    passwords.require_acceptable("a rare but breached one")
