"""The command line: which command was meant, and what its end is told to the shell.

Each command is imported when it is run, so that `openwatch --version` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from openwatch import __version__, errors

Arguments = Mapping[str, Any]

DONE, FAILED, MISUSED, UNABLE, UNKNOWN, INTERRUPTED = 0, 1, 2, 3, 4, 130
# What an error ends a command with, where that is not FAILED: for `check` 1 means findings, for
# `verify` that something has been changed.
_ON_ERROR = {"check": UNABLE, "verify": UNKNOWN}
_OF_OUTPUT = (errno.EPIPE, errno.ENOSPC)  # told by `main`


class UsageError(errors.OpenWatchError):
    """The command line cannot be used."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    words = sys.argv[1:] if argv is None else argv
    _open_standard_streams()
    try:
        status = _run(words)
        sys.stdout.flush()  # at its own end Python would tell of a failure in its own words
    except OSError as why:
        if not isinstance(why, BrokenPipeError):  # a reader that has gone wants to know nothing
            complain(f"the output cannot be written: {why.strerror}")
        # What is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNABLE if "check" in words else FAILED
    return status


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        return _version()
    if "--help" in words or "-h" in words:  # after any command, too
        return _help()
    try:
        from openwatch.cli.arguments import parse

        arguments = parse(words, COMMANDS)
    except UsageError as wrong:
        complain(wrong.message)
        return MISUSED
    command = next((name for name in COMMANDS if arguments[name]), "serve")
    return _carry_out(command, arguments)


def _open_standard_streams() -> None:
    """Put /dev/null where a stream was closed: a file or socket opened later would take its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for good


def _carry_out(command: str, arguments: Arguments) -> int:
    try:
        return COMMANDS[command](arguments)
    except UsageError as wrong:
        complain(wrong.message)
        return MISUSED
    except errors.OpenWatchError as failure:
        complain(failure.message)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as defect:
        if isinstance(defect, OSError) and defect.errno in _OF_OUTPUT:
            raise
        # The last net: a person gets a sentence.
        if arguments["--log-level"] == "debug":
            import traceback

            traceback.print_exc()
        complain(
            f"unexpected {type(defect).__name__}: {defect}\n"
            "  this is a defect in openwatch; --log-level debug shows where"
        )
    return _ON_ERROR.get(command, FAILED)


def complain(message: str) -> None:
    """Say on standard error what went wrong."""
    print(f"openwatch: {message}", file=sys.stderr)


def _help() -> int:
    from openwatch.cli.usage import USAGE

    print(USAGE, end="")
    return DONE


def _version() -> int:
    import platform

    python = f"Python {platform.python_version()}"
    print(f"openwatch {__version__} ({python}, {sys.platform} {platform.machine()})")
    return DONE


def _serve(arguments: Arguments) -> int:
    from openwatch.cli import serve

    return serve.run(arguments)


def _worker(arguments: Arguments) -> int:
    from openwatch.cli import worker

    return worker.run(arguments)


def _migrate(arguments: Arguments) -> int:
    from openwatch.cli import migrate

    return migrate.run(arguments)


def _create_admin(arguments: Arguments) -> int:
    from openwatch.cli import create_admin

    return create_admin.run(arguments)


def _users(arguments: Arguments) -> int:
    from openwatch.cli import users

    return users.run(arguments)


def _check_config(arguments: Arguments) -> int:
    from openwatch.cli import check_config

    return check_config.run(arguments)


def _check(arguments: Arguments) -> int:
    from openwatch.cli import check

    return check.run(arguments)


def _rules(arguments: Arguments) -> int:
    from openwatch.cli import rules

    return rules.run(arguments)


def _verify(arguments: Arguments) -> int:
    from openwatch.cli import verify

    return verify.run(arguments)


def _keys(arguments: Arguments) -> int:
    from openwatch.cli import keys

    return keys.run(arguments)


def _openapi(arguments: Arguments) -> int:
    from openwatch.cli import openapi

    return openapi.run(arguments)


COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "serve": _serve,
    "worker": _worker,
    "migrate": _migrate,
    "create-admin": _create_admin,
    "users": _users,
    "check-config": _check_config,
    "check": _check,
    "rules": _rules,
    "verify": _verify,
    "keys": _keys,
    "openapi": _openapi,
}
