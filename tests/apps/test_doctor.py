"""What `doctor` finds in a database."""

from __future__ import annotations

import asyncio

from rickhouse.apps.doctor import Finding, examine
from rickhouse.platform.settings import load_settings
from tests.apps.conftest import Sql


def failures() -> list[Finding]:
    """What is said about failures."""
    return [found for found in asyncio.run(examine(load_settings())) if found.what == "failures"]


def test_parked_events_and_jobs_given_up_are_counted_over_all_slices(sql: Sql) -> None:
    assert failures() == [Finding("failures", fine=True, detail="0 parked events, 0 jobs given up")]

    sql("insert into orders.subscriptions (name) values ('orders.hold_expired')")
    sql(
        """
        insert into orders.parked_events (subscription, xid, seq, kind, subject, body, at, error)
        select 'orders.hold_expired', 812, seq, 'a', gen_random_uuid(), '{}', now(), '' from generate_series(1, 2) seq
        """
    )
    sql("insert into payments.pgqueuer (priority, entrypoint, status) values (0, 'mail', 'failed')")

    assert failures() == [
        Finding(
            "failures",
            fine=False,
            detail="2 parked events, 1 jobs given up: see 'rickhouse events parked' and 'rickhouse jobs given-up'",
        )
    ]
