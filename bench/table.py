"""Results as Markdown on standard output, what is being done on standard error. What is measured belongs elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence


def say(line: str) -> None:
    """Tell what is being done."""
    print(line, file=sys.stderr, flush=True)


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one table."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    ruler = ["-" * width for width in widths]
    print(f"\n### {title}\n")
    for row in (head, ruler, *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    sys.stdout.flush()


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` % of them do not exceed; 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def percentiles_ms(values_s: Sequence[float]) -> str:
    """`p50 / p95 / p99` of times in seconds, shown in milliseconds."""
    return " / ".join(f"{percentile(values_s, percent) * 1000:.1f}" for percent in (50, 95, 99))
