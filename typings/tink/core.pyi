from typing import TypeVar

from tink.proto.tink_pb2 import KeyData

_Primitive = TypeVar("_Primitive")

class Registry:
    @classmethod
    def primitive(cls, key_data: KeyData, primitive_class: type[_Primitive]) -> _Primitive: ...
