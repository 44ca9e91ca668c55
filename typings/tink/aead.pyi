from typing import Protocol

from tink.proto.tink_pb2 import KeyTemplate

class Aead(Protocol):
    def encrypt(self, plaintext: bytes, associated_data: bytes, /) -> bytes: ...
    def decrypt(self, ciphertext: bytes, associated_data: bytes, /) -> bytes: ...

class aead_key_templates:  # noqa: N801  a module in the library
    AES256_GCM: KeyTemplate

def register() -> None: ...
