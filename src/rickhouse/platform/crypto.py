"""Sealed fields under one key per person, and blind indexes to find what is sealed.

    key service  wraps  keyring keys (versioned, in memory)  wrap  data keys (one per person)  seal  fields

Which fields are personal, and where wrapped keys are kept, belongs to the slice that keeps them; where the key service
keeps its own key belongs to its provider.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import Final, Protocol
from uuid import UUID

import msgspec
from tink import TinkError, aead, core
from tink.proto import aes_gcm_pb2, tink_pb2

from rickhouse.kernel.errors import Condition, Kind

KEY_BYTES: Final = 32
"""AES-256, and the full strength of HMAC-SHA256 (RFC 2104 section 3)."""

_AES_GCM_TYPE: Final = "type.googleapis.com/google.crypto.tink.AesGcmKey"
_VERSION_BYTES: Final = 2

aead.register()


class SealBroken(Exception):
    """Sealed bytes do not open: another key, another row or field, or not the bytes that were sealed."""


class KeyVersionUnknown(LookupError):
    """The keyring in memory lacks the version asked for: another process may have made it since."""


class KeyServiceAway(
    Condition, code="key_service_away", kind=Kind.UNAVAILABLE, title="The key service is away"
):
    """The key service did not answer, so what it wraps stays closed for now. Nothing is lost."""


class KeyRefused(Condition, code="key_refused", kind=Kind.UNAVAILABLE, title="The key does not fit"):
    """The key service answered, and what was wrapped does not open: its key is not the one that wrapped it."""


class Wrapped(msgspec.Struct, frozen=True):
    """A key as only the key service can read it. `key_id` names the service's key that wrapped it."""

    key_id: str
    ciphertext: bytes


class KeyDescription(msgspec.Struct, frozen=True):
    """What a key service may say of itself: who provides it, the key that wraps now, every key that still unwraps."""

    provider: str
    current: str
    known: tuple[str, ...]


class KeyService(Protocol):
    """Holds the key-encryption key. It never gives that key out, and is asked seldom: at the start, and to rotate.

    `context` is bound to what is wrapped (`customers/people/1`) and has to be the same for unwrapping.
    """

    async def wrap(self, key: bytes, context: str) -> Wrapped:
        """Encrypt `key` under the service's current key. Raises KeyServiceAway."""
        ...

    async def unwrap(self, wrapped: Wrapped, context: str) -> bytes:
        """The key that was wrapped. Raises KeyServiceAway, KeyRefused."""
        ...

    async def describe(self) -> KeyDescription:
        """Which keys the service holds. Raises KeyServiceAway."""
        ...


class WrappedDataKey(msgspec.Struct, frozen=True):
    """One person's data key as it is stored. `generation` counts the person's keys, `keyring_version` names the
    keyring key that wrapped it."""

    generation: int
    keyring_version: int
    ciphertext: bytes


class DataKey:
    """Seals and opens the fields of one owner. `row` is the UUID of the row that the field stands in.

    A sealed value is the key's generation (2 bytes, big-endian), then AES-256-GCM's nonce, ciphertext and tag (NIST SP
    800-38D; nonces are random, and one person's fields are few). Owner, row, field and generation are bound to it.
    """

    __slots__ = ("_bound", "_cipher", "_head")

    def __init__(self, owner: UUID, generation: int, key: bytes) -> None:
        self._head = generation.to_bytes(_VERSION_BYTES, "big")
        self._bound = self._head + owner.bytes
        self._cipher = _aes_gcm(key)

    def __repr__(self) -> str:
        return "DataKey(…)"

    def seal(self, row: UUID, field: str, text: str) -> bytes:
        """`text` for that row and field alone: 30 bytes longer than its UTF-8."""
        return self._head + self._cipher.encrypt(text.encode(), self._bound + row.bytes + field.encode())

    def open(self, row: UUID, field: str, sealed: bytes) -> str:
        """The text that was sealed for that row and field. Raises SealBroken."""
        if sealed[:_VERSION_BYTES] != self._head:
            raise SealBroken(f"{field} was sealed by another generation of the key")
        bound = self._bound + row.bytes + field.encode()
        return _decrypt(self._cipher, sealed[_VERSION_BYTES:], bound, field).decode()


class Keyring:
    """The keys that wrap data keys, by version; the highest version wraps, every version unwraps."""

    __slots__ = ("_ciphers", "version")

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._ciphers = {version: _aes_gcm(key) for version, key in keys.items()}
        self.version = max(self._ciphers)

    def __repr__(self) -> str:
        return f"Keyring(version={self.version})"

    def new_data_key(self, owner: UUID, generation: int = 1) -> tuple[DataKey, WrappedDataKey]:
        """A fresh data key for `owner`, and what to store of it."""
        key = new_key()
        bound = _bound_to_owner(owner, generation, self.version)
        ciphertext = self._ciphers[self.version].encrypt(key, bound)
        return DataKey(owner, generation, key), WrappedDataKey(generation, self.version, ciphertext)

    def open(self, owner: UUID, wrapped: WrappedDataKey) -> DataKey:
        """The data key that was wrapped for `owner`. Raises KeyVersionUnknown, SealBroken."""
        cipher = self._ciphers.get(wrapped.keyring_version)
        if cipher is None:
            raise KeyVersionUnknown(f"the keyring has no version {wrapped.keyring_version}")
        bound = _bound_to_owner(owner, wrapped.generation, wrapped.keyring_version)
        return DataKey(owner, wrapped.generation, _decrypt(cipher, wrapped.ciphertext, bound, "a data key"))


class BlindIndex:
    """Finds equal values without telling them: HMAC-SHA256 (RFC 2104) under a key of its own per field.

    It answers equality and nothing else. Digests lead with their key's version (2 bytes, big-endian), so that a search
    covers every version while the key rotates. Values are normalised by whoever owns the field.
    """

    __slots__ = ("_keys", "version")

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys = sorted(
            ((version.to_bytes(_VERSION_BYTES, "big"), key) for version, key in keys.items()), reverse=True
        )
        self.version = max(keys)

    def __repr__(self) -> str:
        return f"BlindIndex(version={self.version})"

    def digest(self, value: str) -> bytes:
        """What to store: 34 bytes by the newest key."""
        head, key = self._keys[0]
        return head + hmac.digest(key, value.encode(), "sha256")

    def digests(self, value: str) -> list[bytes]:
        """What to search for: one digest per key, the newest first."""
        data = value.encode()
        return [head + hmac.digest(key, data, "sha256") for head, key in self._keys]


def new_key() -> bytes:
    """32 bytes from the operating system's generator."""
    return os.urandom(KEY_BYTES)


def _aes_gcm(key: bytes) -> aead.Aead:
    """Tink's AES-256-GCM over one key, without a keyset around it: 3 µs against 14, and versions are columns here."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    return core.Registry.primitive(
        tink_pb2.KeyData(
            type_url=_AES_GCM_TYPE,
            value=aes_gcm_pb2.AesGcmKey(key_value=key).SerializeToString(),
            key_material_type=tink_pb2.KeyData.SYMMETRIC,
        ),
        aead.Aead,
    )


def _decrypt(cipher: aead.Aead, ciphertext: bytes, bound: bytes, what: str) -> bytes:
    try:
        return cipher.decrypt(ciphertext, bound)
    except TinkError:
        raise SealBroken(f"{what} does not open") from None


def _bound_to_owner(owner: UUID, generation: int, keyring_version: int) -> bytes:
    return owner.bytes + generation.to_bytes(_VERSION_BYTES, "big") + keyring_version.to_bytes(4, "big")
