"""`openwatch rules`: look at rules, and check one's own before a server loads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from openwatch import errors
from openwatch.cli import DONE, FAILED, Arguments, UsageError, corpus
from openwatch.cli.outcome import printable
from openwatch.config import suggestion
from openwatch.rules import load, resolve, tiers, trust, variants
from openwatch.rules.platforms import described
from openwatch.rules.types import Corpus, Framework, Problem, Rule


def run(arguments: Arguments) -> int:
    """Run the subcommand that was meant and return the exit status."""
    if arguments["validate"]:
        return _validate(arguments)
    if arguments["test"]:
        from openwatch.cli import rules_test

        return rules_test.run(arguments)
    if arguments["show"]:
        from openwatch.cli import rules_show

        return rules_show.run(arguments)
    if arguments["explain"]:
        from openwatch.cli import rules_explain

        return rules_explain.run(arguments)
    return _list(arguments)


def known(rules: Corpus, name: str) -> Rule:
    """Return a rule. Raise UsageError, with the nearest, where there is none of the name."""
    if name not in rules.rules:
        raise UsageError(f"there is no rule {name!r}{suggestion(name, rules.rules)}")
    return rules.rules[name]


def _validate(arguments: Arguments) -> int:
    """Load a directory as a server would, and tell every problem; 1 where there is one."""
    directory = Path(arguments["DIR"])
    if not directory.is_dir():
        raise UsageError(f"{directory}: there is no such directory")
    found = load.read([load.assets(), directory], {}, strictly=False)
    mine = load.names(directory)
    rules = [rule for rule in found.rules.values() if rule.file in mine]
    problems = [*found.problems, *_hosts(found, directory)]
    doubts = trust.doubts_of(directory)
    if arguments["--json"]:
        _print(
            {
                "valid": not problems,
                "rules": len(rules),
                "problems": msgspec.to_builtins(problems),
                "warnings": list(doubts),
            }
        )
    else:
        for one in problems:
            print(f"{one.file}:{one.line}: {printable(one.message)}")
        for doubt in doubts:
            print(f"warning: a server refuses it: {doubt}")
        print(f"{len(rules)} rules loaded, {len(problems)} problems")
    return FAILED if problems else DONE


def _hosts(found: Corpus, directory: Path) -> list[Problem]:
    """Return what rules refuse of the values of groups and hosts, which only their scans use."""
    problems = []
    for kind, said in (("groups", found.tiers.groups), ("hosts", found.tiers.hosts)):
        for name in said:
            groups = [name] if kind == "groups" else []
            own = resolve.overrides(found.tiers, "" if groups else name, groups)
            try:
                variants.resolved(found, own)
            except errors.RuleError as refused:
                file = str(Path(directory.name, tiers.FOLDER, kind, f"{name}.yml"))
                problems.append(Problem(file, 0, refused.message))
    return problems


def _list(arguments: Arguments) -> int:
    rules = corpus.loaded(arguments)
    wanted = arguments["--framework"]
    controls = _controls(rules, wanted) if wanted else {}
    rows: list[dict[str, Any]] = [
        {
            "id": rule.id,
            "severity": rule.severity.value,
            "category": rule.category,
            "platforms": described(rule.platforms) or "every system",
            "title": rule.title,
            "file": rule.file,
            "line": rule.line,
            **({"controls": controls[rule.id]} if wanted else {}),
        }
        for rule in rules.rules.values()
        if not wanted or rule.id in controls
    ]
    if arguments["--json"]:
        _print(rows)
        return DONE
    widest = max((len(row["id"]) for row in rows), default=0)
    for row in rows:
        served = f"  [{', '.join(row['controls'])}]" if wanted else ""
        print(
            f"{row['id']:<{widest}}  {row['severity']:<8}  {row['category']:<14}"
            f"  {printable(row['title'])}{served}"
        )
    return DONE


def _controls(rules: Corpus, wanted: str) -> Mapping[str, list[str]]:
    """Return the controls by rule, of one framework or all of a family. Raise UsageError."""
    chosen: list[Framework] = [
        one for one in rules.frameworks.values() if wanted in (one.id, one.family)
    ]
    if not chosen:
        names = {*rules.frameworks, *(one.family for one in rules.frameworks.values())}
        near = suggestion(wanted, names) or f"; there are {', '.join(sorted(names))}"
        raise UsageError(f"there is no framework {wanted!r}{near}")
    found: dict[str, list[str]] = {}
    for one in chosen:
        for control in one.controls:
            named = control.id if len(chosen) == 1 else f"{one.id} {control.id}"
            for rule in control.rules:
                found.setdefault(rule, []).append(named)
    return found


def _print(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=True))
