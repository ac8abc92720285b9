"""Figures as text in the OpenMetrics format, version 1.0.0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
END = "# EOF\n"

Sample = tuple[Mapping[str, str], float]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def family(
    name: str,
    kind: Literal["gauge", "counter", "info"],
    about: str,
    samples: Iterable[Sample],
    unit: str = "",
) -> str:
    """Return one family: what it is, and a line for each sample. A unit ends the name."""
    suffix = {"gauge": "", "counter": "_total", "info": "_info"}[kind]
    lines = [_head(name, kind, about, unit)]
    lines += [
        f"{name}{suffix}{_labels(labels)} {_number(value)}\n" for labels, value in samples
    ]
    return "".join(lines)


def histogram(
    name: str,
    about: str,
    bounds: tuple[float, ...],
    samples: Iterable[tuple[Mapping[str, str], tuple[int, ...], float]],
    unit: str,
) -> str:
    """Return a family of histograms: how many were within each bound, then beyond all, and the sum."""
    lines = [_head(name, "histogram", about, unit)]
    edges = [*(_number(bound) for bound in bounds), "+Inf"]
    for labels, counts, total in samples:
        reached = 0
        for edge, count in zip(edges, counts, strict=True):
            reached += count
            lines.append(f"{name}_bucket{_labels({**labels, 'le': edge})} {reached}\n")
        lines.append(f"{name}_count{_labels(labels)} {reached}\n")
        lines.append(f"{name}_sum{_labels(labels)} {_number(total)}\n")
    return "".join(lines)


def _head(name: str, kind: str, about: str, unit: str) -> str:
    is_of_unit = f"# UNIT {name} {unit}\n" if unit else ""
    return f"# TYPE {name} {kind}\n{is_of_unit}# HELP {name} {about.translate(_ESCAPES)}\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
