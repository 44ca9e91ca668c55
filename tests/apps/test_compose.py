"""What may not be wired."""

from __future__ import annotations

from pathlib import Path

import pytest

from rickhouse.apps.compose import compose
from rickhouse.platform.settings import SettingsError, load_settings


def environ(home: Path, lease_s: int) -> dict[str, str]:
    """Settings with vendors that may take three seconds together."""
    return {
        "RICKHOUSE_DATA_DIR": str(home),
        "RICKHOUSE_DATABASE__URL": "postgresql://nobody@localhost/nothing",
        "RICKHOUSE_PAYMENTS__GATEWAY_TIMEOUT_S": "2",
        "RICKHOUSE_CUSTOMERS__BUREAU_TIMEOUT_S": "1",
        "RICKHOUSE_ORDERS__LEASE_S": str(lease_s),
    }


def test_lease_that_the_vendors_may_outlast_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refusal:
        compose(load_settings(environ=environ(tmp_path / "home", 3)))

    assert str(refusal.value) == (
        "orders.lease_s is 3, but payments.gateway_timeout_s and customers.bureau_timeout_s allow the vendors 3 s "
        "together: choose a longer lease or shorter timeouts."
    )


async def test_lease_that_outlasts_the_vendors_is_taken(tmp_path: Path) -> None:
    house = compose(load_settings(environ=environ(tmp_path / "home", 4)))

    assert house.serves("orders")
