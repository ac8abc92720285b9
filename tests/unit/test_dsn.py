"""Reading a DSN: both forms, what is refused, and what is shown of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwatch import errors
from openwatch.db import dsn as dsns
from openwatch.db.dsn import Address

_ENV = {"HOME": "/home/x"}
_TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("postgres://u@h/d", (("h", 5432),)),
        ("postgresql://u@h:6000/d", (("h", 6000),)),
        ("postgresql://u@h1:1,h2,h3:3/d", (("h1", 1), ("h2", 5432), ("h3", 3))),
        ("postgresql://u@[2001:db8::1]:6000/d", (("2001:db8::1", 6000),)),
        ("postgresql://u@%2Frun%2Fpg/d", (("/run/pg", 5432),)),
        ("postgresql:///d?user=u&host=/run/pg&port=7", (("/run/pg", 7),)),
        ("postgresql://", (("/var/run/postgresql", 5432),)),
        ("host=h1,h2 port=9", (("h1", 9), ("h2", 9))),
        ("user=u", (("/var/run/postgresql", 5432),)),
    ],
)
def test_the_addresses_of_a_dsn(text: str, addresses: tuple[tuple[str, int], ...]):
    assert dsns.parse(text, _ENV).addresses == tuple(Address(*a) for a in addresses)


@given(user=_TEXT, password=_TEXT, database=_TEXT)
@settings(max_examples=50)
def test_any_text_survives_both_forms(user: str, password: str, database: str):
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    first = dsns.parse(
        f"user={quoted(user)} password={quoted(password)} dbname={quoted(database)} host=h",
        _ENV,
    )
    assert (first.user, first.password, first.database) == (user, password, database)
    again = dsns.parse(first.uri(), _ENV)
    assert (again.user, again.password, again.database) == (user, password, database)


def test_secrets_are_not_shown():
    found = dsns.parse(
        "postgresql://u:tops%40cret@h/d?sslpassword=alsosecret&sslmode=require", _ENV
    )
    assert found.redacted() == "postgresql://u:***@h:5432/d?sslpassword=***&sslmode=require"
    assert "secret" not in repr(found)
    assert found.password == "tops@cret"


def test_the_database_and_the_user_have_libpq_defaults():
    found = dsns.parse("postgresql://u@h", _ENV)
    assert (found.database, found.user, found.sslmode, found.connect_timeout) == (
        "u",
        "u",
        "prefer",
        5.0,
    )
    assert dsns.parse("postgresql://u@h?connect_timeout=0", _ENV).connect_timeout is None
    assert dsns.parse("postgresql://u@h?sslrootcert=system", _ENV).sslmode == "verify-full"


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("service=x", "service"),
        ("requirepeer=postgres", "requirepeer"),
        ("hostaddr=192.0.2.1", "hostaddr"),
        ("channel_binding=require", "channel_binding"),
        ("gssencmode=require", "gssencmode"),
        ("require_auth=scram-sha-256", "require_auth"),
        ("replication=database", "replication"),
        ("load_balance_hosts=random", "load_balance_hosts"),
        ("client_encoding=LATIN1", "client_encoding"),
        ("sslmode=Require", "sslmode"),
        ("target_session_attrs=master", "target_session_attrs"),
        ("connect_timeout=1.5", "connect_timeout"),
        ("sslrootcert=system&sslmode=require", "verify-full"),
        ("options=-c%20TimeZone%3DCET", "timezone"),
        ("ssl=false", "sslmode"),
    ],
)
def test_an_option_we_do_not_honour_is_an_error_that_names_it(option: str, named: str):
    with pytest.raises(errors.ConfigError, match=named):
        dsns.parse(f"postgresql://u:hunter2@h/d?{option}", _ENV)


def test_an_environment_variable_we_do_not_honour_is_an_error_too():
    with pytest.raises(errors.ConfigError, match="service"):
        dsns.parse("postgresql://u@h/d", {**_ENV, "PGSERVICE": "x"})


def test_a_password_with_a_bare_slash_is_not_shown_in_the_error():
    with pytest.raises(errors.ConfigError, match="%2F") as caught:
        dsns.parse("postgresql://u:hunter2/x@h/d", _ENV)
    assert "hunter2" not in str(caught.value)
