"""Runs the suites and prints `suite passed failed skipped seconds`, and why something was skipped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"

STATIC = (
    ("ruff", [str(BIN / "ruff"), "check", "."]),
    ("format", [str(BIN / "ruff"), "format", "--check", "."]),
    ("mypy", [str(BIN / "mypy")]),
    ("imports", [str(BIN / "lint-imports"), "--no-cache"]),
)
_SSH = ("openssh-server", "openssh-client", "sudo")
# name: (folders, Debian packages it needs)
SUITES: dict[str, tuple[list[str], list[str]]] = {
    "unit": (["tests/unit", "tests/checks"], []),
    "database": (["tests/db"], ["openssl", "pgbouncer", "postgresql"]),
    "api": (["tests/api"], []),
    "ssh": (
        ["tests/ssh"],
        [*_SSH, "busybox-static", "gzip", "procps", "tcsh", "mksh"],
    ),
    "corpus": (["tests/corpus"], []),
    "acceptance": (["tests/acceptance"], [*_SSH]),
    "contract": (["tests/contract"], []),
    "contract-long": (["tests/contract"], []),
    "endurance": (["tests/endurance"], []),
    "database-debian": (["tests/db"], ["postgresql"]),
    "demo": (["tests/demo"], []),
}
# The longest first: they run beside each other.
FAST = ("ssh", "database", "api", "contract", "unit", "acceptance", "corpus")


class Result:
    """What one suite did."""

    def __init__(self, name: str) -> None:
        """Start with nothing run."""
        self.name = name
        self.passed = self.failed = self.skipped = 0
        self.seconds = 0.0
        self.reasons: dict[str, int] = {}

    def line(self) -> str:
        """The row of the table."""
        counts = f"{self.passed:>7} {self.failed:>7} {self.skipped:>8} {self.seconds:>8.1f}"
        return f"{self.name:<16} {counts}"


def run_static() -> Result:
    """Run the linters; each is one test."""
    result = Result("static")
    begun = time.monotonic()
    for name, command in STATIC:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            result.failed += 1
            print(f"--- {name} ---\n{done.stdout}{done.stderr}", flush=True)
        else:
            result.passed += 1
    result.seconds = time.monotonic() - begun
    return result


def debian_programs() -> str:
    """The oldest PostgreSQL of 15 or newer that Debian has installed."""
    found = [(int(p.name), p / "bin") for p in Path("/usr/lib/postgresql").glob("[0-9]*")]
    usable = sorted((major, path) for major, path in found if major >= 15)
    if not usable:
        sys.exit("Debian's PostgreSQL 15 or newer was not found in /usr/lib/postgresql")
    return str(usable[0][1])


def run_pytest(name: str, *, is_fast: bool) -> Result:
    """Run pytest over a suite's folders, print what it said, and count from its JUnit report.

    Where it is to be fast, what is marked as slow is left out.
    """
    result = Result(name)
    folders = SUITES[name][0]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if name == "database-debian":
        environment["TEST_POSTGRES_PROGRAMS"] = debian_programs()
    if name == "contract-long":
        environment |= {"CONTRACT_EXAMPLES": "100", "CONTRACT_SECONDS": "7200"}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [
                str(BIN / "pytest"),
                "--junit-xml",
                str(report),
                "-p",
                "no:cacheprovider",
                "--durations=8",
                *(("-m", "not slow") if is_fast else ()),
                *folders,
            ],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        print(f"== {name}\n{done.stdout}", flush=True)
        result.seconds = time.monotonic() - begun
        if not report.exists():
            result.failed = 1
            return result
        for case in ET.parse(report).iter("testcase"):
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                result.failed += 1
            elif skipped is not None:
                result.skipped += 1
                reason = re.sub(r"^.*?: ", "", skipped.get("message") or "no reason given")
                result.reasons[reason] = result.reasons.get(reason, 0) + 1
            else:
                result.passed += 1
    if done.returncode and not result.failed:
        result.failed = 1
    return result


def run_each(names: list[str], *, is_fast: bool) -> Iterator[Result]:
    """Run suites beside each other: each has servers and accounts of its own, and mostly waits.

    The linters come first, by themselves: what they find is soon told.
    """
    if "static" in names:
        print("== static", flush=True)
        yield run_static()
    run = partial(run_pytest, is_fast=is_fast)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(run, [name for name in names if name != "static"])


def main(arguments: list[str]) -> int:
    """Run what was asked for and print the table."""
    names = list(arguments) or ["static", *FAST]
    if names == ["all"]:
        names = ["static", *SUITES]
    unknown = [n for n in names if n != "static" and n not in SUITES]
    if unknown:
        print(f"no suite {unknown[0]}; there are: static {' '.join(SUITES)}", file=sys.stderr)
        return 2
    packages = sorted({p for n in names if n != "static" for p in SUITES[n][1]})
    if packages:
        subprocess.run([str(ROOT / "build" / "system-packages"), *packages], check=True)
    results = list(run_each(names, is_fast=not arguments))
    print(f"\n{'suite':<16} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for result in results:
        print(result.line())
    for result in results:
        for reason, count in result.reasons.items():
            print(f"skipped in {result.name}: {count} x {reason}")
    passed, failed = sum(r.passed for r in results), sum(r.failed for r in results)
    print(f"{passed} passed, {failed} failed, {sum(r.skipped for r in results)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
