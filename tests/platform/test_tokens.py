"""Only what this house signed, for this use, for its time, is taken."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import OctKey, OKPKey, RSAKey

from rickhouse.kernel.errors import Kind
from rickhouse.platform.private_file import PrivateFileRefused
from rickhouse.platform.tokens import Claims, TokenExpired, TokenInvalid, TokenKey

NOW_S = 1_800_000_000


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = float(NOW_S)

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signing() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


@pytest.fixture
def key(signing: OKPKey, clock: Clock) -> TokenKey:
    return TokenKey([signing], clock_s=clock)


def payload(**changed: object) -> dict[str, object]:
    """Claims as they are issued, some of them changed; None leaves one out."""
    claims: dict[str, object] = {
        "iss": "rickhouse",
        "aud": "rickhouse",
        "sub": "shop",
        "scope": "catalog:read",
        "iat": NOW_S,
        "exp": NOW_S + 60,
    }
    return {name: value for name, value in {**claims, **changed}.items() if value is not None}


def signed(key: OKPKey, claims: dict[str, object], **header: object) -> str:
    """A token as an issuer with that key could make it."""
    full = {"alg": "Ed25519", "kid": key.thumbprint(), **header}
    return jws.serialize_compact(
        {name: value for name, value in full.items() if value is not None},
        json.dumps(claims),
        key,
        algorithms=["Ed25519"],
    )


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_issued_token_gives_its_claims_back(key: TokenKey) -> None:
    token = key.issue("shop:1", ["orders:write", "catalog:read", "catalog:read"], 60)
    claims = Claims(
        "shop:1", frozenset(("catalog:read", "orders:write")), datetime.fromtimestamp(NOW_S + 60, UTC)
    )
    assert key.verify(token) == claims
    assert key.verify_header(b"Bearer " + token.encode()) == claims
    assert key.verify_header(b"bearer  " + token.encode()) == claims


def test_forging_helper_makes_what_issue_makes(key: TokenKey, signing: OKPKey) -> None:
    assert key.verify(signed(signing, payload())).subject == "shop"


def test_token_is_refused_from_the_moment_it_expires_even_if_it_was_seen_before(
    key: TokenKey, clock: Clock
) -> None:
    header = b"Bearer " + key.issue("shop", ["catalog:read"], 60).encode()
    assert key.verify_header(header).subject == "shop"
    clock.now_s += 59.9
    assert key.verify_header(header).subject == "shop"
    clock.now_s += 0.1
    with pytest.raises(TokenExpired):
        key.verify_header(header)
    with pytest.raises(TokenExpired):
        key.verify(header.removeprefix(b"Bearer "))


@pytest.mark.parametrize(
    "claims",
    [
        payload(exp=None),
        payload(exp="tomorrow"),
        payload(exp=True),
        payload(iat=None),
        payload(iat=NOW_S + 3600, exp=NOW_S + 7200),
        payload(aud=None),
        payload(aud="elsewhere"),
        payload(aud=["rickhouse"]),
        payload(iss="somebody"),
        payload(sub=None),
        payload(scope=None),
    ],
    ids=json.dumps,
)
def test_claims_that_are_missing_or_wrong_are_refused(
    key: TokenKey, signing: OKPKey, claims: dict[str, object]
) -> None:
    with pytest.raises(TokenInvalid):
        key.verify(signed(signing, claims))


def test_wrong_audience_is_refused(key: TokenKey) -> None:
    token = key.issue("shop", ["catalog:read"], 60, audience="elsewhere")
    with pytest.raises(TokenInvalid):
        key.verify(token)
    assert key.verify(token, audience="elsewhere").subject == "shop"


def test_unsigned_token_is_refused(key: TokenKey, signing: OKPKey) -> None:
    head = {"alg": "none", "kid": signing.thumbprint(), "typ": "JWT"}
    for signature in ("", "AAAA"):
        with pytest.raises(TokenInvalid):
            key.verify(f"{part(head)}.{part(payload())}.{signature}")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_token_signed_with_the_public_key_as_a_secret_is_refused(
    key: TokenKey, signing: OKPKey, algorithm: str
) -> None:
    public = base64.urlsafe_b64decode(str(signing.as_dict()["x"]) + "=")
    token = jws.serialize_compact(
        {"alg": algorithm, "kid": signing.thumbprint()},
        json.dumps(payload()),
        OctKey.import_key(public + bytes(32)),
        algorithms=[algorithm],
    )
    with pytest.raises(TokenInvalid):
        key.verify(token)


def test_token_of_another_algorithm_is_refused(key: TokenKey, signing: OKPKey) -> None:
    token = jws.serialize_compact(
        {"alg": "RS256", "kid": signing.thumbprint()},
        json.dumps(payload()),
        RSAKey.generate_key(2048),
        algorithms=["RS256"],
    )
    with pytest.raises(TokenInvalid):
        key.verify(token)


def test_key_that_is_unknown_unnamed_or_brought_along_is_refused(key: TokenKey, signing: OKPKey) -> None:
    stranger = OKPKey.generate_key("Ed25519")
    for token in (
        signed(stranger, payload()),
        signed(stranger, payload(), kid=signing.thumbprint()),
        signed(signing, payload(), kid=None),
        signed(signing, payload(), kid="other"),
        signed(stranger, payload(), jwk=stranger.as_dict(private=False)),
    ):
        with pytest.raises(TokenInvalid):
            key.verify(token)


def test_token_whose_claims_were_changed_is_refused(key: TokenKey) -> None:
    head, _, signature = key.issue("shop", ["catalog:read"], 60).split(".")
    with pytest.raises(TokenInvalid):
        key.verify(f"{head}.{part(payload(scope='catalog:write'))}.{signature}")


def test_header_extension_that_must_be_understood_is_refused(key: TokenKey, signing: OKPKey) -> None:
    head = {"alg": "Ed25519", "kid": signing.thumbprint(), "crit": ["exp"], "exp": 1}
    with pytest.raises(TokenInvalid):
        key.verify(f"{part(head)}.{part(payload())}.AAAA")


@pytest.mark.parametrize(
    "header",
    [b"", b"Bearer", b"Bearer ", b"Bearer a.b", b"Bearer a.b.c", b"Basic abc", b"Bearer \xff.\xff.\xff"],
)
def test_header_that_holds_no_token_is_refused(key: TokenKey, header: bytes) -> None:
    with pytest.raises(TokenInvalid) as refused:
        key.verify_header(header)
    assert refused.value.kind is Kind.UNAUTHENTICATED


def test_refusals_are_not_remembered_and_the_memory_is_bounded(
    key: TokenKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    decode = jwt.decode

    def counting(token: bytes, *args: Any, **kwargs: Any) -> jwt.Token:  # noqa: ANN401
        decoded.append(token)
        return decode(token, *args, **kwargs)

    monkeypatch.setattr("rickhouse.platform.tokens._CACHED_MAX", 3)
    tokens = [key.issue(f"shop{number}", ["a"], 60).encode() for number in range(5)]
    for token in tokens:
        key.verify_header(b"Bearer " + token)
        with pytest.raises(TokenInvalid):
            key.verify_header(b"Bearer x" + token)
    monkeypatch.setattr(jwt, "decode", counting)
    for token in (*tokens[2:], tokens[0], tokens[1]):
        key.verify_header(b"Bearer " + token)
    assert decoded == tokens[:2]


def test_second_look_at_a_token_costs_a_look_up() -> None:
    key = TokenKey([OKPKey.generate_key("Ed25519")])
    header = b"Bearer " + key.issue("shop", ["a"], 60).encode()
    key.verify_header(header)
    began = time.process_time()
    for _ in range(10_000):
        key.verify_header(header)
    assert (time.process_time() - began) / 10_000 < 10e-6


@pytest.mark.parametrize(
    ("subject", "scopes", "ttl_s"),
    [
        ("", ["a"], 60),
        ("Ada Lovelace", ["a"], 60),
        ("shop", [], 60),
        ("shop", ["a b"], 60),
        ("shop", ['a"'], 60),
        ("shop", [""], 60),
        ("shop", ["a"], 0),
        ("shop", ["a"], 400_000_000),
    ],
)
def test_what_cannot_be_in_a_token_is_not_issued(
    key: TokenKey, subject: str, scopes: list[str], ttl_s: int
) -> None:
    with pytest.raises(ValueError, match=r"a (subject|token)"):
        key.issue(subject, scopes, ttl_s)


def test_key_file_is_made_once_and_shared(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "tokens.json"
    token = TokenKey.load(path).issue("shop", ["a"], 60)
    assert TokenKey.load(path).verify(token).subject == "shop"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(TokenInvalid):
        TokenKey.load(tmp_path / "other.json").verify(token)


def test_replaced_key_signs_while_the_old_one_still_verifies(tmp_path: Path) -> None:
    path, other = tmp_path / "tokens.json", tmp_path / "other.json"
    old_token = TokenKey.load(path).issue("shop", ["a"], 60)
    new_token = TokenKey.load(other).issue("shop", ["a"], 60)
    old, new = json.loads(path.read_text()), json.loads(other.read_text())
    path.write_text(json.dumps({"keys": new["keys"] + old["keys"]}))
    both = TokenKey.load(path)
    assert both.verify(old_token) == both.verify(old_token)
    assert both.verify(new_token).subject == "shop"
    assert TokenKey.load(other).verify(both.issue("shop", ["a"], 60)).subject == "shop"


@pytest.mark.parametrize("text", ["", "{}", '{"keys": []}', '{"keys": [{"kty": "OKP"}]}', "not JSON"])
def test_file_that_holds_no_keys_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(PrivateFileRefused, match="not a set of token keys"):
        TokenKey.load(path)
    assert path.read_text() == text


def test_public_half_of_a_key_is_no_signing_key(signing: OKPKey) -> None:
    with pytest.raises(ValueError, match="private Ed25519"):
        TokenKey([OKPKey.import_key(signing.as_dict(private=False))])
