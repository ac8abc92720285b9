"""A declared member is data: in the script of a set_compare it can never become a command."""

from __future__ import annotations

import subprocess

from openwatch.checks.set_compare import Parameters
from openwatch.rules.decode import Source, structure
from openwatch.rules.document import documents


def test_a_value_in_the_observed_command_is_never_program_text(tmp_path):
    trap = tmp_path / "trap"
    document = b"observed_command: 'echo {{ secret }}'\nauthorized: '{{ members }}'\n"
    values: dict[str, int | str | tuple[str, ...]] = {
        "secret": f"$(touch {trap}); touch {trap}",
        "members": ("root", "admin"),
    }
    (node,) = documents(document, "rule.yml")
    params = structure(node, Parameters, "it", Source("rule.yml", values), frozenset())
    done = subprocess.run(
        ["sh", "-c", params.observed_command], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == values["secret"]
    assert not trap.exists()
    assert params.declared == {"root", "admin"}
