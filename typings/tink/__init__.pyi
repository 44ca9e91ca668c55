# What this house uses of tink, which ships no types of its own.

from typing import TypeVar

from tink import aead as aead
from tink import core as core
from tink import json_proto_keyset_format as json_proto_keyset_format
from tink import secret_key_access as secret_key_access
from tink.proto.tink_pb2 import KeysetInfo, KeyTemplate

_Primitive = TypeVar("_Primitive")

class TinkError(Exception): ...

class KeysetHandle:
    def keyset_info(self) -> KeysetInfo: ...
    def primitive(self, primitive_class: type[_Primitive]) -> _Primitive: ...

def new_keyset_handle(key_template: KeyTemplate) -> KeysetHandle: ...
