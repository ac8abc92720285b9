"""Passwords from where nobody else can read them: a prompt, a file, standard input, a variable."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from openwatch.cli import Arguments, UsageError


def from_file(path: str) -> str:
    """Return the first line of a file. Raise UsageError."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            line = file.readline(4096)
    except OSError as why:
        raise UsageError(f"{path}: cannot be read: {why.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: a password file must be UTF-8 text") from None
    return _not_empty(line, path)


def from_stdin() -> str:
    """Return the first line of standard input. Raise UsageError."""
    try:
        line = sys.stdin.readline(4096)
    except UnicodeDecodeError:
        raise UsageError("standard input: a password must be UTF-8 text") from None
    return _not_empty(line, "standard input")


def from_variable(name: str) -> str | None:
    """Return a variable's value and take it out of the environment, so that no child inherits it."""
    value = os.environ.pop(name, None)
    return _not_empty(value, name) if value else None


def asked(prompt: str, instead: str) -> str:
    """Ask on the terminal, without showing what is typed. Raise UsageError where there is none."""
    if not is_interactive():
        raise UsageError(f"there is no terminal to ask for the password on; {instead}")
    try:
        return _not_empty(getpass.getpass(prompt), "the terminal")
    except EOFError:
        raise UsageError("no password was typed") from None


def asked_twice(prompt: str, instead: str) -> str:
    """Ask for a new password, and again so that a slip is noticed. Raise UsageError."""
    first = asked(f"{prompt}: ", instead)
    if asked(f"{prompt}, again: ", instead) != first:
        raise UsageError("the two passwords differ")
    return first


def new_password(arguments: Arguments) -> str:
    """Return the password to set, from where the arguments say. Raise UsageError."""
    if arguments["--password-file"]:
        return from_file(arguments["--password-file"])
    if arguments["--password-stdin"] or not is_interactive():
        return from_stdin()
    return asked_twice("Password", "use --password-file or --password-stdin")


def is_interactive() -> bool:
    """Say whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def _not_empty(line: str, source: str) -> str:
    secret = line.rstrip("\r\n")
    try:
        secret.encode()
    except (
        UnicodeEncodeError
    ):  # what the locale could not read stands in it as half a character
        raise UsageError(f"{source}: a password must be UTF-8 text") from None
    if not secret:
        raise UsageError(f"{source} holds no password in its first line")
    return secret
