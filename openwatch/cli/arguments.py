"""From words to arguments, and from arguments to the configuration."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import docopt

from openwatch.cli import UsageError
from openwatch.cli.usage import USAGE

if TYPE_CHECKING:
    from openwatch.config import Loaded

_MORE = "see openwatch --help"
_OPTION = re.compile(r"^  ((?:-[A-Za-z] [A-Z]+ )?)(--[a-z-]+)( [A-Z]+)?", re.MULTILINE)
_WITH_VALUE = {long for _, long, value in _OPTION.findall(USAGE) if value}
_LONG = set(re.findall(r"--[a-z-]+", USAGE))
_SHORT_WITH_VALUE = set(re.findall(r"^  (-[A-Za-z]) [A-Z]+ --", USAGE, re.MULTILINE))
_SHORT = _SHORT_WITH_VALUE | {"-h"}


def parse(words: list[str], commands: Collection[str]) -> Mapping[str, Any]:
    """Return docopt's arguments. Raise UsageError, which never repeats a value."""
    _refuse_secrets(words)
    try:
        arguments: Mapping[str, Any] = docopt.docopt(USAGE, words, False)
    except docopt.DocoptExit:
        raise UsageError(_what_is_wrong(words, commands)) from None
    return arguments


def configured(arguments: Mapping[str, Any]) -> Loaded:
    """Return the configuration these arguments ask for. Raise ConfigError."""
    from openwatch.config import load

    names = {
        "--listen": "server.listen",
        "--log-level": "logging.level",
        "--poll-interval": "worker.poll_interval",
    }
    flags = {
        option: (flag, arguments[flag])
        for flag, option in names.items()
        if arguments.get(flag) is not None
    }
    return load(arguments.get("--config"), flags=flags)


def _refuse_secrets(words: list[str]) -> None:
    for word in words:
        name = word.split("=", 1)[0]
        if re.fullmatch(r"--(sudo-|login-|ssh-)?pass(w(o(r(d)?)?)?)?|--passphrase", name):
            raise UsageError(
                f"{name} is refused: every user of a machine can read the command lines on it;"
                " let the password be asked for, or give it in a file or on standard input"
                f" ({_MORE})"
            )


def _what_is_wrong(words: list[str], commands: Collection[str]) -> str:
    """Return the sentence for words that docopt refused."""
    plain: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        problem, has_value = _long(word) if word.startswith("--") else _short(word)
        if not problem and has_value and next(rest, None) is None:
            problem = f"{word} needs a value"
        if problem:
            return f"{problem} ({_MORE})"
    command = plain[0] if plain else "serve"
    if command not in commands:
        return f"unknown command {command!r}{_near(command, commands)} ({_MORE})"
    return f"this is not how {command} is used; it is:\n{_usage_of(command)}"


def _long(word: str) -> tuple[str, bool]:
    """Return what is wrong with a long option, and whether its value is the next word."""
    name, separator, _ = word.partition("=")
    meant = [name] if name in _LONG else sorted(o for o in _LONG if o.startswith(name))
    if not meant:
        return f"unknown option {name}{_near(name, _LONG)}", False
    if len(meant) > 1:
        return f"{name} could be any of {', '.join(meant)}", False
    return "", meant[0] in _WITH_VALUE and not separator


def _short(word: str) -> tuple[str, bool]:
    """Return what is wrong with a short option, and whether its value is the next word."""
    if word[:2] not in _SHORT:
        return f"unknown option {word[:2]}", False
    return "", word in _SHORT_WITH_VALUE


def _near(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _usage_of(command: str) -> str:
    section = USAGE.split("Usage:\n", 1)[1].split("\n\n", 1)[0]
    entries = re.split(r"\n(?=  openwatch)", section)
    return "\n".join(e for e in entries if re.search(rf"(?<![\w-]){command}(?![\w-])", e))
