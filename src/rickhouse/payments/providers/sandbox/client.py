"""Carries the codec's requests to the bank simulator. What they say belongs in `codec`."""

from __future__ import annotations

from rickhouse.kernel.money import Money
from rickhouse.kernel.wire import HttpReply, HttpRequest
from rickhouse.payments.port import (
    Authorisation,
    Captured,
    NothingDone,
    OutcomeUnknown,
    Refunded,
    RefundOrder,
    Standing,
    Voided,
)
from rickhouse.payments.providers.sandbox import codec
from rickhouse.platform.http import HttpClient, NoReply, NotSent


class SandboxGateway:
    """The bank simulator behind the port."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def authorise(self, authorisation: Authorisation) -> Standing:
        """See Gateway."""
        return codec.authorised(authorisation, await self._send(codec.authorise(authorisation)))

    async def find(self, authorisation: Authorisation) -> Standing | None:
        """See Gateway."""
        return codec.found(authorisation, await self._send(codec.find(authorisation)))

    async def capture(self, authorisation: Authorisation, key: str, amount: Money) -> Captured:
        """See Gateway."""
        reply = await self._send(codec.capture(authorisation, key, amount))
        return codec.captured(authorisation, amount, reply)

    async def void(self, authorisation: Authorisation, key: str) -> Voided:
        """See Gateway."""
        return codec.voided(await self._send(codec.void(authorisation, key)))

    async def refund(self, authorisation: Authorisation, refund: RefundOrder) -> Refunded:
        """See Gateway."""
        return codec.refunded(refund, await self._send(codec.refund(authorisation, refund)))

    async def _send(self, request: HttpRequest) -> HttpReply:
        try:
            return await self._client.send(request)
        except NotSent as error:
            raise NothingDone(str(error)) from error
        except NoReply as error:
            raise OutcomeUnknown(str(error)) from error
