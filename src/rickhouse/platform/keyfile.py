"""The key service of a single machine: a key-encryption key in a file that only its owner can read.

The file is a keyset in Tink's own JSON form, so that Tink's tools read it. What is wrapped belongs to the caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import tink
from tink import aead, secret_key_access

from rickhouse.platform.crypto import KeyDescription, KeyRefused, Wrapped
from rickhouse.platform.private_file import PrivateFileRefused, read_or_make


class KeyFile:
    """A KeyService on a file. Losing the file makes everything that it wrapped unreadable for ever: back it up, apart
    from the database."""

    def __init__(self, path: Path, keyset: tink.KeysetHandle) -> None:
        info = keyset.keyset_info()
        self._path = path
        self._cipher = keyset.primitive(aead.Aead)
        self._current = str(info.primary_key_id)
        self._known = tuple(str(key.key_id) for key in info.key_info)

    def __repr__(self) -> str:
        return f"KeyFile({str(self._path)!r})"

    @classmethod
    def load(cls, path: Path) -> Self:
        """The keys in the file (mode 0600), which is made first when there is none. Raises PrivateFileRefused."""
        text = read_or_make(path, _new_keyset)
        try:
            return cls(path, tink.json_proto_keyset_format.parse(text, secret_key_access.TOKEN))
        except tink.TinkError:
            raise PrivateFileRefused(
                f"{path} is not a key file, or was cut short: restore it from its backup. Do not delete it while there "
                "are customers on file: a new key does not open what the old one wrapped."
            ) from None

    async def wrap(self, key: bytes, context: str) -> Wrapped:
        """See KeyService."""
        return Wrapped(self._current, self._cipher.encrypt(key, context.encode()))

    async def unwrap(self, wrapped: Wrapped, context: str) -> bytes:
        """See KeyService."""
        try:
            return self._cipher.decrypt(wrapped.ciphertext, context.encode())
        except tink.TinkError:
            raise KeyRefused(
                f"The key file {self._path} does not open what key {wrapped.key_id} wrapped: put back the key file "
                "that belongs to this database."
            ) from None

    async def describe(self) -> KeyDescription:
        """See KeyService."""
        return KeyDescription("file", self._current, self._known)


def _new_keyset() -> str:
    keyset = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    return tink.json_proto_keyset_format.serialize(keyset, secret_key_access.TOKEN)
