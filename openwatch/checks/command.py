"""command: a script of the rule's own; its exit code and its output are the answer."""

from __future__ import annotations

import msgspec

from openwatch.checks.answers import (
    answer,
    cut,
    failed,
    hindered,
    passed,
    shortened,
    skipped,
    unanswered,
    unexpected,
)
from openwatch.checks.types import (
    Facts,
    Lane,
    Method,
    Observation,
    Observations,
    Probe,
    Reason,
    Verdict,
)


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the script may cost: whole seconds, bytes of output, and its lane."""

    seconds: int = 10
    limit: int = 65536
    lane: Lane = Lane.CONFIG

    def __post_init__(self) -> None:
        """Refuse a budget that no scan could keep."""
        if not 1 <= self.seconds <= 3600:
            raise ValueError("`seconds` must be 1 to 3600")
        if not 1 <= self.limit <= 1 << 20:
            raise ValueError("`limit` must be 1 to 1048576 bytes")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The script and what it must say. `cmd` and `expected_output` are other names.

    An empty `expected_stdout` asserts that nothing but white space is printed, any other that
    its text occurs in the output.
    """

    run: str | None = None
    cmd: str | None = None
    expected_exit: int = 0
    expected_stdout: str | None = None
    expected_output: str | None = None
    not_assessable_exit: int | None = None
    probe: Budget = Budget()

    def __post_init__(self) -> None:
        """Refuse what could not be judged."""
        if (self.run is None) == (self.cmd is None):
            raise ValueError("give one of `run` and `cmd`")
        if not self.script.strip() or "\0" in self.script:
            raise ValueError("the script is empty or holds a NUL")
        for name in ("expected_exit", "not_assessable_exit"):
            code = getattr(self, name)
            if code is not None and not 0 <= code <= 123:
                raise ValueError(f"`{name}` must be 0 to 123, higher ones mean that it broke")
        if self.not_assessable_exit == self.expected_exit:
            raise ValueError("`not_assessable_exit` and `expected_exit` are the same")

    @property
    def script(self) -> str:
        """The script, under whichever name it was given."""
        return self.run if self.run is not None else self.cmd or ""

    @property
    def output(self) -> str | None:
        """The expected output, None where it does not matter."""
        return self.expected_stdout if self.expected_output is None else self.expected_output


def probes(params: Parameters, facts: Facts) -> tuple[Probe, ...]:  # noqa: ARG001
    """Run the script in a shell of its own."""
    budget = params.probe
    return (
        Probe(
            params.script,
            isolated=True,
            lane=budget.lane,
            seconds=float(budget.seconds),
            limit=budget.limit,
        ),
    )


def judge(  # noqa: PLR0911 - one line of the verdict table each
    params: Parameters, facts: Facts, observations: Observations
) -> Verdict:
    """Judge the exit code, then the output; neither where the script could not do its work.

    Forbidden output decides by itself. Everything else needs a standard error that does not
    speak of missing tools or refused access: such a script would exit as if all were well.
    """
    (probe,) = probes(params, facts)
    observation = answer(observations, probe)
    broken = unanswered(observation, probe)
    if broken is not None:
        return broken
    text = observation.text.strip()
    expected = _expected(params)
    if observation.exit == params.not_assessable_exit:
        return hindered(observation) or skipped(
            Reason.NOT_ASSESSABLE, shortened(text) or "the check says that it does not apply"
        )
    as_wanted = observation.exit == params.expected_exit
    if as_wanted and params.output == "" and text:
        return failed(
            Reason.PRESENT, expected, shortened(text, 500), "printed what must not be there"
        )
    hindrance = hindered(observation)
    if hindrance is not None:
        return hindrance
    if observation.exit >= 128:
        return unexpected(observation)
    if not as_wanted:
        # What was printed stays out of `actual`: nobody promised that it is the same tomorrow.
        actual = f"exit {observation.exit}"
        detail = actual + (f": {shortened(text)}" if text else "")
        return failed(Reason.DIFFERS, expected, actual, detail)
    return _by_output(params, observation, expected)


def _by_output(params: Parameters, observation: Observation, expected: str) -> Verdict:
    if params.output is None:
        return passed(expected, f"exit {observation.exit}")
    if params.output == "":
        return cut("that nothing is printed") if observation.truncated else passed(expected, "")
    if params.output in observation.text:
        return passed(expected, shortened(params.output, 500))
    if observation.truncated:
        return cut(repr(params.output))
    return failed(
        Reason.DIFFERS, expected, shortened(observation.text, 500), "printed something else"
    )


def _expected(params: Parameters) -> str:
    wanted = f"exit {params.expected_exit}"
    if params.output is None:
        return wanted
    return f"{wanted}, " + (f"prints {params.output!r}" if params.output else "prints nothing")


METHOD = Method("command", Parameters, probes, judge)
