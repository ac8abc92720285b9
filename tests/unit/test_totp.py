"""One-time codes and recovery codes, without a database."""

from __future__ import annotations

import datetime as dt
import urllib.parse

import pytest

from openwatch.accounts import recovery, totp

# RFC 6238, appendix B, the rows for SHA-1: its codes have eight digits, of which ours are the last six.
SECRET = b"12345678901234567890"
VECTORS = (
    (59, "94287082"),
    (1111111109, "07081804"),
    (1111111111, "14050471"),
    (1234567890, "89005924"),
    (2000000000, "69279037"),
    (20000000000, "65353130"),
)


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


@pytest.mark.parametrize(("seconds", "code"), VECTORS)
def test_a_code_is_that_of_the_rfc(seconds: int, code: str) -> None:
    assert totp.code(SECRET, totp.step_of(at(seconds))) == code[2:]
    assert totp.matching_step(SECRET, code[2:], at(seconds)) == seconds // 30


@pytest.mark.parametrize(
    ("seconds", "is_right"),
    [
        (869.999, False),
        (870, True),
        (900, True),
        (929.999, True),
        (959.999, True),
        (960, False),
    ],
)
def test_a_code_counts_one_step_before_and_after_its_own(
    seconds: float, is_right: bool
) -> None:
    shown = totp.code(SECRET, 30)  # the step from 900 to 930
    assert totp.matching_step(SECRET, shown, at(seconds)) == (30 if is_right else None)


@pytest.mark.parametrize(
    "shown", ["", "12345", "1234567", "12345a", "１２３４５６", " 12345", "12345\n"]
)
def test_what_is_not_six_digits_is_no_code(shown: str) -> None:
    assert not totp.is_code(shown)
    assert totp.matching_step(SECRET, shown, at(900)) is None


def test_the_first_step_has_none_before_it() -> None:
    assert totp.matching_step(SECRET, totp.code(SECRET, 0), at(0)) == 0


def test_an_authenticator_can_read_the_uri_whatever_the_name() -> None:
    secret = totp.new_secret()
    assert len(secret) == 20
    uri = urllib.parse.urlsplit(totp.provisioning_uri(secret, "jo/hn &?é:doe"))
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert urllib.parse.unquote(uri.path) == "/OpenWatch:jo/hn &?é:doe"
    query = urllib.parse.parse_qs(uri.query)
    encoded = query.pop("secret")[0]
    assert len(encoded) == 32
    assert query == {
        "issuer": ["OpenWatch"], "algorithm": ["SHA1"], "digits": ["6"], "period": ["30"]
    }  # fmt: skip


def test_ten_recovery_codes_of_80_bits_each_their_own() -> None:
    codes = recovery.new_codes()
    assert len(set(codes)) == 10
    assert len({recovery.digest(code) for code in codes}) == 10
    for code in codes:
        assert len(code) == 19
        assert recovery.digest(code) == recovery.digest(f" {code.replace('-', '').upper()}\n")


@pytest.mark.parametrize(
    "text", ["", "123456", "abcd-efgh-2345-klm", "abcd-efgh-2345-klm1", "é" * 16]
)
def test_other_text_is_no_recovery_code(text: str) -> None:
    assert recovery.digest(text) is None
