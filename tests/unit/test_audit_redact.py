"""What an audit row keeps of a detail: by type, by name, by look, and always something."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwatch.audit import redact
from openwatch.audit.codes import Code
from openwatch.audit.types import MASK, Secret, SecretText
from openwatch.audit.words import PREDICATES, message


class Colour(enum.StrEnum):
    RED = "red"


class Request(msgspec.Struct):
    name: str
    word: SecretText
    again: SecretText | None = None
    typed: Secret = Secret("")
    short: Annotated[str, msgspec.Meta(max_length=3)] = ""
    left_out: str | msgspec.UnsetType = msgspec.UNSET


def test_a_secret_prints_as_a_mask_and_no_encoder_takes_it() -> None:
    secret = Secret("hunter2")
    assert [str(secret), repr(secret), f"{secret}", f"{secret:>12}", "%s" % secret] == [  # noqa: UP031
        MASK, MASK, MASK, f"{MASK:>12}", MASK,
    ]  # fmt: skip
    assert secret.reveal() == "hunter2"
    assert secret == "hunter2"
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


def test_secrets_are_masked_by_their_type_wherever_they_are() -> None:
    detail = {
        "request": Request("a", "b", "c", Secret("d"), "e"),
        "list": [1, {"x": [Secret("f"), b"bytes"]}],
    }
    kept, masked = redact.clean(detail)
    assert kept == {
        "request": {"name": "a", "word": MASK, "again": MASK, "typed": MASK, "short": "e"},
        "list": [1, {"x": [MASK, MASK]}],
    }
    assert masked == [
        "request.word", "request.again", "request.typed", "list[1].x[0]", "list[1].x[1]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "currentPassword", "passphrase", "api_key", "apiKey", "API_KEY",
     "private-key", "client_secret", "access_token", "otp", "recovery_codes", "Authorization",
     "cookie", "password_hash", "dsn", "jwt"],
)  # fmt: skip
def test_secrets_are_masked_by_their_names(name: str) -> None:
    for value in ("x", 123456, ["x"], {"a": "x"}):
        assert redact.clean({"deep": [{name: value}]}) == (
            {"deep": [{name: MASK}]},
            [f"deep[0].{name}"],
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [("token_id", "x"), ("token_name", "ci"), ("secret_rotated", True), ("password", None),
     ("key_fingerprint", "SHA256:x"), ("password_policy", "x"), ("credential_id", "x"),
     ("require_password", True), ("monkey", "x"), ("keyboard", "x"), ("compassword", "x")],
)  # fmt: skip
def test_what_only_sounds_like_a_secret_stays(name: str, value: Any) -> None:
    assert redact.clean({name: value}) == ({name: value}, [])


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "see owk_0123456789abcdef", "eyJhbGciOiJI.eyJzdWIi.sig",
     "$argon2id$v=19$m=65536", "$6$salt$hash"],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert redact.clean({"note": text}) == ({"note": MASK}, ["note"])


def test_text_is_one_line_of_256_characters() -> None:
    kept, masked = redact.clean(
        {"t": "a\n\x00b\u202ec" + "\N{GRINNING FACE}" * 300, "k\n": 1, "u": "http://a:b@c/"}
    )
    assert kept["t"] == "a  b c" + "\N{GRINNING FACE}" * 250
    assert kept["k "] == 1
    assert kept["u"] == "http://a:***@c/"
    assert masked == []


def test_values_of_every_kind_are_kept_as_json() -> None:
    some = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    at = dt.datetime(2026, 1, 15, tzinfo=dt.UTC)
    kept, _ = redact.clean(
        {"a": some, "b": at, "c": Colour.RED, "d": float("nan"), "e": 2**70, "f": {3, 1}, "g": 1.5,
         "h": dt.date(2026, 1, 2), "i": None, "j": object, "k": -5}
    )  # fmt: skip
    assert kept["a"] == str(some)
    assert kept["b"] == "2026-01-15T00:00:00.000000Z"
    assert kept["c"] == "red"
    assert kept["d"] is None
    assert kept["e"] == str(2**70)
    assert kept["f"] == [1, 3]
    assert (kept["g"], kept["h"], kept["i"], kept["k"]) == (1.5, "2026-01-02", None, -5)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.text(alphabet="\ud800\udfff\x00a"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=8), ODD, max_size=4))
@settings(max_examples=60, deadline=None)
def test_whatever_it_is_given_a_row_comes_of_it(detail: dict[str, Any]) -> None:
    kept, masked = redact.clean(detail)
    encoded = msgspec.json.encode(kept)
    assert b"\\u0000" not in encoded
    assert msgspec.json.decode(encoded) == kept
    assert all(isinstance(place, str) for place in masked)


def test_a_detail_without_an_end_has_one() -> None:
    endless: dict[str, Any] = {}
    endless["more"] = endless
    assert len(msgspec.json.encode(redact.clean(endless)[0])) < 400
    kept, _ = redact.clean({"wide": list(range(5000))})
    assert len(kept["wide"]) == 1000


def test_every_code_has_a_sentence() -> None:
    assert set(PREDICATES) == set(Code)
    assert all(not p.endswith(".") and p[0].islower() for p in PREDICATES.values())
    assert message("host.deleted", "anna", "user", "success") == "anna removed a host"
    assert (
        message("host.deleted", "", "api_key", "denied")
        == "api_key removed a host (it was denied)"
    )
    assert message("new.code", "anna", "user", "success") == "anna: new.code"
