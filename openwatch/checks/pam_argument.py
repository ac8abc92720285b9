"""pam_argument: no line of PAM gives a module a value that its own file was right not to have."""

from __future__ import annotations

import re

import msgspec

from openwatch.checks import pam_files
from openwatch.checks.answers import failed, passed, shortened
from openwatch.checks.parsers import pam
from openwatch.checks.types import Facts, Method, Observations, Probe, Reason, Verdict
from openwatch.checks.values import Comparator, endures, require_number, wanted


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which argument of which module, in which services, and what its value must be where it is set.

    An argument wins over the module's file, so a rule asks for both. The words of `endless` mean
    more than any number. Without the argument there is nothing to judge, which is a pass.
    """

    services: tuple[str, ...]
    module: str
    argument: str
    expected: str
    comparator: Comparator = "=="
    endless: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if not self.services:
            raise ValueError("`services` must name a file in pam.d at least")
        for name in (*self.services, self.module):
            if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name):
                raise ValueError(f"a service or module is one word: {name!r}")
        if not re.fullmatch(r"[A-Za-z0-9_]+", self.argument):
            raise ValueError(f"`argument` must be one word such as minlen: {self.argument!r}")
        require_number(self.comparator, self.expected)


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Ask for all services: other rules ask for the same ones."""
    return pam_files.ALL


def judge(params: Parameters, facts: Facts, observations: Observations) -> Verdict:  # noqa: ARG001
    """Fail for the first line that says otherwise."""
    services = pam_files.given(observations)
    if isinstance(services, Verdict):
        return services
    expected = (
        f"{params.argument} {wanted(params.comparator, params.expected)} where it is given"
    )
    module = pam.module(params.module)
    mine = [
        one
        for service in params.services
        for one in services.get(service, ())
        if one.module == module and one.name == params.argument
    ]
    for one in mine:
        if not endures(one.value, params.comparator, params.expected, params.endless):
            actual = shortened(f"{params.argument}={one.value}", 500)
            return failed(Reason.DIFFERS, expected, actual, f"{one.where} has {actual}")
    return passed(expected, "given" if mine else "not given")


METHOD = Method("pam_argument", Parameters, probes, judge)
