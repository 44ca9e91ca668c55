"""`python -m bench`: bring a house up, measure it, print the tables."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from bench import catalog, checkout, drop, spy
from bench.house import MeasuredHouse, measured_house
from bench.machine import facts
from bench.table import say, show
from bench.wire import Crowd

Name = Literal["checkout", "drop", "catalog"]
Measure = Callable[[MeasuredHouse, Crowd, float], None]

MEASUREMENTS: Final[dict[Name, tuple[Measure, float]]] = {
    "checkout": (checkout.measure, 30.0),
    "drop": (drop.measure, 5.0),
    "catalog": (catalog.measure, 10.0),
}
"""Each with the seconds that it takes unless told otherwise."""

app = App(name="bench", help="Measure the whole house. Example: python -m bench --only checkout --seconds 10")


@app.default
def main(
    *,
    only: Annotated[list[Name] | None, Parameter(help="One measurement; may be repeated.")] = None,
    seconds: Annotated[float | None, Parameter(help="How long each measurement takes.")] = None,
    profile: Annotated[bool, Parameter(help="Show afterwards where checkouts spend their time.")] = False,
) -> None:
    """Bring a house up on a database of its own, measure it beside its limits, and delete everything again."""
    # A house has many processes: they are taken down however this one is ended.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with measured_house() as house, Crowd() as crowd:
        machine = asyncio.run(facts(house.admin_url, house.settings.data_root))
        show("The machine", ("fact", "found"), machine)
        for name in only or MEASUREMENTS:
            measure, usual_s = MEASUREMENTS[name]
            measure(house, crowd, seconds or usual_s)
        if profile:
            spy.measure(house, crowd, seconds or spy.USUAL_S)
        say("taking the house down")


if __name__ == "__main__":
    app()
