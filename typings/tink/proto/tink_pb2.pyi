from collections.abc import Sequence

class KeyTemplate: ...

class KeyData:
    SYMMETRIC: int
    def __init__(self, *, type_url: str, value: bytes, key_material_type: int) -> None: ...

class KeysetInfo:
    class KeyInfo:
        key_id: int

    primary_key_id: int
    key_info: Sequence[KeyInfo]
