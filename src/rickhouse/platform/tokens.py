"""Bearer tokens: JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 9864), scoped and expiring.

Who may have which scope belongs to whoever issues; what a scope opens belongs to the route.

Condition
├── TokenInvalid    unauthenticated   not one of ours, or not one at all
└── TokenExpired    unauthenticated   it was one of ours
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, Self

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, OKPKey

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.platform.private_file import PrivateFileRefused, read_or_make

AUDIENCE: Final = "rickhouse"
_ISSUER: Final = "rickhouse"
_ALGORITHM: Final = "Ed25519"
_CURVE: Final = "Ed25519"
_SCHEME: Final = b"bearer "
_TOKEN_BYTES_MAX: Final = 4096
_CACHED_MAX: Final = 4096
_CLOCK_SKEW_S: Final = 60
_TTL_S_MAX: Final = 10 * 366 * 86_400
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+")
"""scope-token of RFC 6749, section 3.3."""

_SUBJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}")


class TokenInvalid(
    Condition, code="token_invalid", kind=Kind.UNAUTHENTICATED, title="The token is not valid"
):
    """The bearer token is not one that this house has signed for this use."""


class TokenExpired(Condition, code="token_expired", kind=Kind.UNAUTHENTICATED, title="The token has expired"):
    """The bearer token was valid; ask for a new one."""


class Claims(msgspec.Struct, frozen=True):
    """What a verified token says: whose it is, what it opens, until when."""

    subject: str
    scopes: frozenset[str]
    expires_at: datetime


class Verifier(Protocol):
    """Checks the tokens of requests."""

    def verify_header(self, header: bytes) -> Claims:
        """The claims behind the value of an Authorization header. Raises TokenInvalid, TokenExpired."""
        ...


class _Payload(msgspec.Struct, frozen=True):
    """The claims as they must stand in a token; others are ignored (RFC 7519, section 4)."""

    iss: str
    aud: str
    sub: str
    scope: str
    iat: int
    exp: int


class _KeySet(msgspec.Struct, frozen=True):
    """A JSON Web Key Set (RFC 7517). The first key signs; the others still verify what they signed."""

    keys: tuple[dict[str, str], ...]


class TokenKey:
    """Signs and verifies tokens. To replace the key, put a new one in front of the old one in the file."""

    def __init__(self, keys: Iterable[OKPKey], *, clock_s: Callable[[], float] = time.time) -> None:
        self._keys = {key.thumbprint(): key for key in keys}
        if not self._keys or not all(
            key.is_private and key.curve_name == _CURVE for key in self._keys.values()
        ):
            raise ValueError(f"a token key set holds private {_CURVE} keys")
        self._clock_s = clock_s
        self._verified: dict[bytes, tuple[float, Claims]] = {}

    @classmethod
    def load(cls, path: Path) -> Self:
        """The keys in the file (mode 0600), which is made first when there is none. Raises PrivateFileRefused."""
        text = read_or_make(path, _new_key_set)
        try:
            key_set = msgspec.json.decode(text, type=_KeySet)
            return cls(OKPKey.import_key(dict(key)) for key in key_set.keys)
        except (ValueError, JoseError):
            raise PrivateFileRefused(
                f"{path} is not a set of token keys, or was cut short: restore it, or delete it, after which every "
                "token is refused and has to be issued anew."
            ) from None

    def secret_for(self, purpose: str) -> bytes:
        """32 bytes for another purpose than tokens, the same wherever this key set is. They come from the oldest key,
        so that a new one in front changes nothing."""
        oldest = list(self._keys.values())[-1].as_dict(private=True)
        return hmac.digest(str(oldest["d"]).encode(), purpose.encode(), "sha256")

    def issue(self, subject: str, scopes: Iterable[str], ttl_s: int, audience: str = AUDIENCE) -> str:
        """A token for `subject` that opens `scopes` for `ttl_s` seconds. Raises ValueError for what it cannot hold."""
        wanted = sorted(set(scopes))
        if not _SUBJECT.fullmatch(subject):
            raise ValueError(
                "a subject is 1 to 128 letters, digits and . _ : @ / -, and begins with a letter or digit"
            )
        if not wanted or not all(_SCOPE.fullmatch(scope) for scope in wanted):
            raise ValueError("a token needs at least one scope, each without spaces and quotes")
        if not 0 < ttl_s <= _TTL_S_MAX:
            raise ValueError("a token lives for one second at least and ten years at most")
        now_s = int(self._clock_s())
        kid, key = next(iter(self._keys.items()))
        payload: dict[str, object] = {
            "iss": _ISSUER,
            "aud": audience,
            "sub": subject,
            "scope": " ".join(wanted),
            "iat": now_s,
            "exp": now_s + ttl_s,
            "jti": secrets.token_urlsafe(12),
        }
        return jwt.encode({"alg": _ALGORITHM, "kid": kid}, payload, key, algorithms=[_ALGORITHM])

    def verify_header(self, header: bytes) -> Claims:
        """See Verifier. A token that was verified before costs one look-up until it expires."""
        known = self._verified.get(header)
        if known is not None:
            if known[0] > self._clock_s():
                return known[1]
            raise _expired()
        if header[: len(_SCHEME)].lower() != _SCHEME or len(header) > _TOKEN_BYTES_MAX:
            raise TokenInvalid("Send the token as 'Authorization: Bearer <token>'.")
        claims = self.verify(header[len(_SCHEME) :].strip())
        while len(self._verified) >= _CACHED_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[header] = (claims.expires_at.timestamp(), claims)
        return claims

    def verify(self, token: bytes | str, audience: str = AUDIENCE) -> Claims:
        """The claims of a token that one of our keys signed for `audience`. Raises TokenInvalid, TokenExpired."""
        try:
            decoded = jwt.decode(token, self._key_of, algorithms=[_ALGORITHM])
            payload = msgspec.convert(decoded.claims, _Payload)
        except (ValueError, JoseError):
            # Which check failed is nobody's business but ours.
            raise TokenInvalid("The token is not one of ours: issue a new one.") from None
        now_s = self._clock_s()
        if payload.iss != _ISSUER or payload.aud != audience or payload.iat > now_s + _CLOCK_SKEW_S:
            raise TokenInvalid("The token is not one of ours: issue a new one.")
        if payload.exp <= now_s:
            raise _expired()
        expires_at = datetime.fromtimestamp(min(payload.exp, payload.iat + _TTL_S_MAX), UTC)
        return Claims(payload.sub, frozenset(payload.scope.split()), expires_at)

    def _key_of(self, token: GuestProtocol) -> OKPKey:
        """The key that a token names, so that no other one is tried. Raises ValueError."""
        key = self._keys.get(str(token.headers().get("kid")))
        if key is None:
            raise ValueError("unknown key")
        return key


def _expired() -> TokenExpired:
    return TokenExpired("The token has expired: issue a new one.")


def _new_key_set() -> str:
    key = OKPKey.generate_key(_CURVE, private=True)
    return msgspec.json.encode({"keys": [key.as_dict(private=True)]}).decode()
