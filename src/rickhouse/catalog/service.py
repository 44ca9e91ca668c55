"""The catalogue at work: changing products, answering reads from memory, and making offers that checkout can rely on.

What a valid product is belongs in `model`; who may ask belongs in `routes`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from typing import Final

import msgspec

from rickhouse.catalog import sql
from rickhouse.catalog.contract import Offer, VariantNotFound
from rickhouse.catalog.model import (
    After,
    ChangeProduct,
    ChangeVariant,
    CreateProduct,
    CreateVariant,
    Product,
    ProductFilter,
    Variant,
    bottling,
    change_product,
    change_variant,
    check_product,
    check_variant,
    draft,
    find_variant,
    for_buyers,
    offer_at,
    search_words,
    settled_filter,
)
from rickhouse.kernel.errors import KeyReused, NotFound, Unavailable
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import ProductId, VariantId
from rickhouse.platform.cache import Cache, ChangeListener
from rickhouse.platform.codec import encode_json
from rickhouse.platform.db import Database
from rickhouse.platform.web import Page, decode_cursor, encode_cursor, etag

CHANNEL: Final = "catalog"
"""Where PostgreSQL tells of every change; the statements that change something say so there."""

_KEPT_S: Final = 3_600.0
_TAG_BYTES: Final = 12


class Answer(msgspec.Struct, frozen=True):
    """A read, encoded once: the JSON of its body, and the entity tag of exactly these bytes."""

    body: bytes
    etag: str


Match = Callable[[int], None]
"""Lets a change of this version pass, or raises VersionStale."""

_ATTEMPTS_MAX: Final = 5


class CatalogService:
    """The catalogue of one shop, which sells in one currency.

    Reads are kept, encoded, from `open` to `close`, for as long as every change is heard of; otherwise, and while the
    listener has lost its connection, each is made from the database.
    """

    def __init__(self, db: Database, *, currency: str, cache: Cache | None = None) -> None:
        self._db = db
        self._currency = currency
        self._listener = ChangeListener(db, CHANNEL, self._forget)
        self._kept = (cache or Cache()).region("catalog", _KEPT_S, lambda: self.keeps)

    async def open(self) -> None:
        """Begin to listen for changes, and to keep what is read."""
        self._listener.start()

    async def close(self) -> None:
        """Listen no more."""
        await self._listener.stop()

    @property
    def keeps(self) -> bool:
        """Whether reads are answered from memory: every change so far has been heard of."""
        return self._listener.healthy

    async def offers(self, variant_ids: tuple[VariantId, ...], at: datetime) -> tuple[Offer, ...]:
        """The current offer of each variant, in the order asked, from one select and never from memory.

        Raises VariantNotFound, NotForSale.
        """
        shelved = await sql.offers(self._db, variant_ids)
        found: list[Offer] = []
        for variant_id in variant_ids:
            one = shelved.get(variant_id)
            if one is None:
                raise VariantNotFound(
                    f"There is no bottling {variant_id}; take it out of the order.",
                    variant_id=str(variant_id),
                )
            found.append(offer_at(one, at))
        return tuple(found)

    async def create_product(
        self, keyed: Keyed, asked: CreateProduct, product_id: ProductId | None = None
    ) -> Product:
        """Add a draft, under `product_id` where one is given. The same request again gets the same answer.

        Raises FieldInvalid, KeyReused.
        """
        check_product(asked)
        new_id = product_id or ProductId.new()
        created_at = await sql.create_product(self._db, new_id, asked, keyed)
        if created_at is not None:
            await self._kept.forget()
            return draft(new_id, asked, created_at)
        made = await sql.find_keyed_product(self._db, keyed)
        if made is None or made.fingerprint != keyed.fingerprint:
            raise _key_reused()
        return draft(made.product_id, asked, made.created_at)

    async def create_variant(
        self, keyed: Keyed, product_id: ProductId, asked: CreateVariant, variant_id: VariantId | None = None
    ) -> Variant:
        """Add a bottling to a product, under `variant_id` where one is given. The same request again gets the same
        answer.

        Raises FieldInvalid, CurrencyMismatch, NotFound, SkuTaken, GtinTaken, KeyReused.
        """
        check_variant(asked, self._currency)
        variant = bottling(variant_id or VariantId.new(), product_id, asked)
        if await sql.create_variant(self._db, variant, keyed):
            await self._kept.forget()
            return variant
        clashes = await sql.find_variant_clashes(self._db, variant, keyed)
        if not clashes:
            raise _no_product(product_id)
        made = next((clash for clash in clashes if clash.same_key), None)
        if made is None:
            raise sql.clash(variant, same_sku=any(clash.same_sku for clash in clashes))
        if made.fingerprint != keyed.fingerprint:
            raise _key_reused()
        return bottling(made.variant_id, product_id, asked)

    async def change_product(self, product_id: ProductId, change: ChangeProduct, match: Match) -> Product:
        """Change a product if `match` agrees with its version; a change that changes nothing leaves the version.

        Raises NotFound, FieldInvalid, StatusRefused, ProductNotReady, and what `match` raises.
        """
        for _ in range(_ATTEMPTS_MAX):
            product = await sql.find_product(self._db, product_id)
            if product is None:
                raise _no_product(product_id)
            match(product.version)
            changed = change_product(product, change)
            if changed is product:
                return product
            written = await sql.change_product(self._db, changed)
            if written is not None:
                await self._kept.forget()
                return written
        raise _too_busy()

    async def change_variant(self, variant_id: VariantId, change: ChangeVariant, match: Match) -> Variant:
        """Change a bottling if `match` agrees with its version; a change that changes nothing leaves the version.

        Raises NotFound, FieldInvalid, CurrencyMismatch, BottlingFixed, ProductNotReady, SkuTaken, GtinTaken, and what
        `match` raises.
        """
        for _ in range(_ATTEMPTS_MAX):
            product = await sql.find_product_of(self._db, variant_id)
            variant = None if product is None else find_variant(product, variant_id)
            if product is None or variant is None:
                raise _no_variant(variant_id)
            match(variant.version)
            changed = change_variant(product, variant, change, self._currency)
            if changed is variant:
                return variant
            written = await sql.change_variant(self._db, product.version, changed)
            if written is not None:
                await self._kept.forget()
                return written
        raise _too_busy()

    async def read_product(self, product_id: ProductId, *, staff: bool) -> Answer:
        """A product with its bottlings; buyers see it while it is active. Raises NotFound."""

        async def make() -> bytes:
            product = await sql.find_product(self._db, product_id)
            shown = product if staff or product is None else for_buyers(product)
            if shown is None:
                raise _no_product(product_id)
            return _pack(encode_json(shown), shown.version if staff else None)

        return _unpack(await self._kept.get_or_make(_key(staff, product_id), make))

    async def read_variant(self, variant_id: VariantId, *, staff: bool) -> Answer:
        """A bottling; buyers see it while it and its product are active. Raises NotFound."""

        async def make() -> bytes:
            product = await sql.find_product_of(self._db, variant_id)
            shown = product if staff or product is None else for_buyers(product)
            variant = None if shown is None else find_variant(shown, variant_id)
            if variant is None:
                raise _no_variant(variant_id)
            return _pack(encode_json(variant), variant.version if staff else None)

        return _unpack(await self._kept.get_or_make(_key(staff, variant_id), make))

    async def list_products(
        self, wanted: ProductFilter, cursor: str | None, limit: int, *, staff: bool
    ) -> Answer:
        """A page of products behind `cursor`, as `Page[Product]`; buyers see active ones, whatever is wanted.

        Newest first; in a search, best match first. Raises FieldInvalid.
        """
        wanted = settled_filter(wanted, staff=staff)

        async def make() -> bytes:
            after = None if cursor is None else decode_cursor(cursor, After)
            words = None if wanted.q is None else search_words(wanted.q)
            found = await sql.list_products(self._db, wanted, words, after, limit + 1)
            shown = found[:limit]
            items = tuple(product if staff else for_buyers(product) for product, _ in shown)
            more = encode_cursor(After(shown[-1][1], shown[-1][0].product_id)) if len(found) > limit else None
            return _pack(encode_json(Page(items, more)))

        return _unpack(await self._kept.get_or_make(_key(staff, wanted, cursor, limit), make))

    async def _forget(self, _product_id: str | None) -> None:
        """Forget every answer: lists hold all products, and changes are rare."""
        await self._kept.forget()


def _key(*parts: object) -> str:
    """The name of an answer. As JSON, so that no text of a caller can look like another part."""
    return encode_json(parts).decode()


def _pack(body: bytes, version: int | None = None) -> bytes:
    """An answer as it is kept. Its tag is the version that If-Match is held against, or else a digest of the body."""
    tag = etag(version or blake2b(body, digest_size=_TAG_BYTES).hexdigest())
    return tag.encode() + b"\n" + body


def _unpack(kept: bytes) -> Answer:
    tag, _, body = kept.partition(b"\n")
    return Answer(body, tag.decode())


def _no_product(product_id: ProductId) -> NotFound:
    return NotFound(f"There is no product {product_id}.")


def _no_variant(variant_id: VariantId) -> NotFound:
    return NotFound(f"There is no bottling {variant_id}.")


def _key_reused() -> KeyReused:
    return KeyReused("This Idempotency-Key was used for another request; choose a new key for a new one.")


def _too_busy() -> Unavailable:
    return Unavailable("The product is being changed by several people at once; try again in a moment.")
