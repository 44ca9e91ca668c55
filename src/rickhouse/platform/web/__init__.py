"""HTTP in: routes that declare their scope, problem details, idempotency keys, cursors, the edge of the process.

What a route does belongs in its slice.
"""

from rickhouse.kernel.idempotency import Keyed
from rickhouse.platform.web.caller import Caller, caller
from rickhouse.platform.web.idempotency import IdempotencyKey, keyed
from rickhouse.platform.web.matching import IfMatch, IfNoneMatch, etag, not_modified, require_match
from rickhouse.platform.web.paging import Cursor, Limit, Page, decode_cursor, encode_cursor
from rickhouse.platform.web.routing import created, delete, get, patch, post

__all__ = [
    "Caller",
    "Cursor",
    "IdempotencyKey",
    "IfMatch",
    "IfNoneMatch",
    "Keyed",
    "Limit",
    "Page",
    "caller",
    "created",
    "decode_cursor",
    "delete",
    "encode_cursor",
    "etag",
    "get",
    "keyed",
    "not_modified",
    "patch",
    "post",
    "require_match",
]
