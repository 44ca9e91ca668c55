"""What the contract itself decides: card numbers are known by their look."""

from __future__ import annotations

import pytest

from rickhouse.payments.contract import CardNumberRefused, refuse_card_number


@pytest.mark.parametrize(
    "number",
    [
        "4242424242424242",
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "378282246310005",
        "6011000990139424",
        "4222222222222",
        "6304000000000000000",
    ],
)
def test_a_card_number_is_refused_however_it_is_grouped(number: str) -> None:
    with pytest.raises(CardNumberRefused) as refusal:
        refuse_card_number(number)

    assert refusal.value.code == "card_number_refused"
    assert refusal.value.kind.value == "invalid"
    assert number not in refusal.value.detail
    assert refusal.value.facts == {}


@pytest.mark.parametrize(
    "token",
    [
        "tok_approve",
        "4242424242424241",
        "424242424242",
        "42424242424242424242",
        "pm_4242424242424242",
        "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢",
        "5O190127TN364715T",
        "",
    ],
)
def test_a_token_is_no_card_number(token: str) -> None:
    refuse_card_number(token)
