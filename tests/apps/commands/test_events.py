"""Parked events from the command line: shown, handled again, replayed."""

from __future__ import annotations

import pytest

from rickhouse.apps.commands.events import events_parked, events_replay, events_retry
from rickhouse.apps.refusals import Told
from rickhouse.kernel.errors import NotFound
from rickhouse.kernel.ids import OrderId
from tests.apps.conftest import Sql

NAME = "orders.hold_expired"


def park(sql: Sql, seq: int, order_id: OrderId, body: str) -> None:
    """Set an expired hold aside, as if handling it had failed."""
    sql("insert into orders.subscriptions (name, xid, seq) values ($1, 900, 9) on conflict do nothing", NAME)
    sql(
        """
        insert into orders.parked_events (subscription, xid, seq, kind, subject, body, at, error)
        values ($1, 812, $2, 'inventory.hold_expired', $3, $4::text::jsonb, now(), 'ValueError at a/b.py:1')
        """,
        *(NAME, seq, order_id, body),
    )


def parked(sql: Sql) -> list[tuple[int, str]]:
    """What is parked: place and error."""
    return [
        (row["seq"], row["error"]) for row in sql("select seq, error from orders.parked_events order by seq")
    ]


def test_parked_events_are_shown_with_what_a_retry_needs(
    sql: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    order_id = OrderId.new()
    park(sql, 7, order_id, "{}")

    events_parked("inventory")
    assert capsys.readouterr().out == ""
    events_parked()

    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{NAME} 812-7  inventory.hold_expired  {order_id.uuid}  ")
    assert line.endswith("  ValueError at a/b.py:1")


def test_retry_handles_what_can_be_handled_and_leaves_the_rest(
    sql: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    order_id = OrderId.new()
    park(sql, 7, order_id, f'{{"order_id": "{order_id}", "lines": []}}')
    park(sql, 8, order_id, '{"order_id": 1}')

    with pytest.raises(Told, match=r"orders\.hold_expired fails at 812-8 again: ValidationError"):
        events_retry(NAME, "812-8")
    events_retry(NAME, "812-7")

    [(seq, error)] = parked(sql)
    assert (seq, error.partition(" ")[0]) == (8, "ValidationError")
    assert capsys.readouterr().out == f"{NAME} has handled 812-7\n"
    with pytest.raises(NotFound):
        events_retry(NAME, "812-7")


def test_replay_goes_back_and_forgets_what_was_parked_since(
    sql: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    park(sql, 7, OrderId.new(), "{}")
    park(sql, 8, OrderId.new(), "{}")

    events_replay(NAME, after="812-7")

    assert [seq for seq, _ in parked(sql)] == [7]
    [row] = sql("select xid, seq from orders.subscriptions where name = $1", NAME)
    assert (row["xid"], row["seq"]) == (812, 7)
    assert capsys.readouterr().out == f"{NAME} goes on from 812-7\n"


@pytest.mark.parametrize(
    ("name", "position", "said"),
    [
        ("orders.nothing", "812-7", f"There is no subscription 'orders.nothing' here; there is {NAME}."),
        (NAME, "812", "'812' is not a position such as 812-7."),
    ],
)
def test_impossible_retry_is_refused_and_changes_nothing(
    sql: Sql, name: str, position: str, said: str
) -> None:
    park(sql, 7, OrderId.new(), "{}")

    with pytest.raises(Told) as refusal:
        events_retry(name, position)

    assert str(refusal.value) == said
    assert parked(sql) == [(7, "ValueError at a/b.py:1")]
