"""The simulated age bureau over HTTP. What is sent and what an answer means belongs in `codec`."""

from __future__ import annotations

from rickhouse.customers.port import AgeAnswer, AgeQuestion, BureauAway
from rickhouse.customers.providers.sandbox.codec import answer_of, request_of
from rickhouse.platform.http import HttpClient, TransportFailed


class SandboxBureau:
    """An AgeBureau. Silence of either sort means only that nothing is known: the same key can be asked again."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    @property
    def name(self) -> str:
        """See AgeBureau."""
        return "sandbox"

    async def ask(self, question: AgeQuestion) -> AgeAnswer:
        """See AgeBureau."""
        try:
            reply = await self._http.send(request_of(question))
        except TransportFailed as failure:
            raise BureauAway(str(failure)) from None
        return answer_of(question, reply)
