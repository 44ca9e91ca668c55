"""Every setting of the house: its name, type, default, and where its value came from.

One TOML file, and the environment above it: `RICKHOUSE_WEB__PORT=8080` overrides `port` of `[web]`. What a setting
does belongs to the code that reads it; reading a key file or opening a URL never belongs here.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Generator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeGuard, cast, get_args, get_origin

import msgspec
import platformdirs
from msgspec import Meta, field

from rickhouse.platform.embedded import default_data_root

_PREFIX: Final = "RICKHOUSE_"
_CONFIG_VARIABLE: Final = "RICKHOUSE_CONFIG"
_OTHER_VARIABLES: Final = frozenset({_CONFIG_VARIABLE, "RICKHOUSE_VENDOR_DATA"})
"""Share the prefix and are not settings: where the file is, and where tests find vendors' recorded answers."""

_FILE_NAME: Final = "rickhouse.toml"
_MSGSPEC_PATH: Final = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
"""A slice or a provider."""

HttpUrl = Annotated[str, Meta(pattern="^https?://[^/]")]
PositiveInt = Annotated[int, Meta(ge=1)]
VendorTimeout = Annotated[float, Meta(ge=0.1, le=5)]
"""Seconds. An attempt to pay is taken for dead after eight, repeats included; five for one request still fit."""

BasisPoints = Annotated[int, Meta(ge=0, le=10_000)]
Region = Annotated[str, Meta(pattern="^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
"""ISO 3166-1 alpha-2, or a subdivision of it by ISO 3166-2."""


class SettingsError(Exception):
    """A setting is unknown or its value is of the wrong type; the message names it and the place it came from."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class DatabaseSettings(Section, frozen=True):
    """Where the slices' data is kept.

    `url` is the administrator's URL of a server, empty for the embedded one. `role_secret` is what the password of each
    slice's role is derived from; a server that is reached over a network needs it. `urls` gives a slice a database of
    its own. `pool_max` is connections per slice and process.
    """

    url: str = ""
    role_secret: str = ""
    urls: dict[Name, str] = field(default_factory=dict[str, str])
    pool_max: PositiveInt = 8

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class WebSettings(Section, frozen=True):
    """Where the public API listens, and how much one request may bring.

    `slices` are those that this process serves; empty for every slice that is not in `remotes`.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8000
    workers: Annotated[int, Meta(ge=1, le=64)] = 2
    body_bytes_max: PositiveInt = 262_144
    slices: tuple[Name, ...] = ()


class TokenSettings(Section, frozen=True):
    """`key_file` signs API tokens; empty for `keys/tokens.json` in the data directory."""

    key_file: str = ""


class CacheSettings(Section, frozen=True):
    """`url` is `mem://` or `redis://…`, as cashews reads it."""

    url: str = "mem://"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class PaymentSettings(Section, frozen=True):
    """Which gateway moves the money, how long one request to it may take, and where the sandbox's bank listens."""

    gateway: Name = "sandbox"
    gateway_timeout_s: VendorTimeout = 5.0
    bank_url: HttpUrl = "http://127.0.0.1:8090"


class CustomerSettings(Section, frozen=True):
    """`key_file` wraps each person's data key; empty for `keys/customers.json` in the data directory.

    `bureau` is who proves an age, `bureau_timeout_s` how long asking it may take, and `bureau_url` where the sandbox's
    simulator listens. A proof counts for `proof_days`.
    """

    key_file: str = ""
    bureau: Name = "sandbox"
    bureau_timeout_s: VendorTimeout = 4.0
    bureau_url: HttpUrl = "http://127.0.0.1:8091"
    proof_days: PositiveInt = 365


class ComplianceSettings(Section, frozen=True):
    """`pack` is a rule pack's file, empty for the one that is shipped.

    `permits` gives the number of the seller's permit per region, his own licence for his own state. `outbound_attested`
    lists the origins of which somebody has checked that their law lets spirits out to other states;
    `products_attested` the destinations whose conditions on products (such as being made by the shipper itself) every
    product on sale meets. `transit_days` is how long a parcel takes at most: the law must allow its arrival too.
    """

    pack: str = ""
    permits: dict[Region, str] = field(default_factory=dict[str, str])
    outbound_attested: tuple[Region, ...] = ()
    products_attested: tuple[Region, ...] = ()
    transit_days: Annotated[int, Meta(ge=1, le=60)] = 7


class OrderSettings(Section, frozen=True):
    """Times in seconds, money in minor units of `currency` (ISO 4217), tax in basis points per region.

    `lease_s` is how long a process that fell silent keeps an order to itself: longer than both vendors may take.
    """

    hold_ttl_s: PositiveInt = 900
    review_hold_s: PositiveInt = 86_400
    lease_s: PositiveInt = 15
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "USD"
    tax_bp: dict[Region, BasisPoints] = field(default_factory=dict[str, int])
    shipping_minor: Annotated[int, Meta(ge=0)] = 0


class LogSettings(Section, frozen=True):
    """`json` for machines, `plain` for a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "plain"] = "json"


class Settings(Section, frozen=True):
    """All settings. `remotes` maps a slice that runs elsewhere to the base URL of its server."""

    data_dir: str = ""
    database: DatabaseSettings = DatabaseSettings()
    web: WebSettings = WebSettings()
    remotes: dict[Name, HttpUrl] = field(default_factory=dict[str, str])
    tokens: TokenSettings = TokenSettings()
    cache: CacheSettings = CacheSettings()
    payments: PaymentSettings = PaymentSettings()
    customers: CustomerSettings = CustomerSettings()
    compliance: ComplianceSettings = ComplianceSettings()
    orders: OrderSettings = OrderSettings()
    log: LogSettings = LogSettings()

    @property
    def data_root(self) -> Path:
        """Where everything is kept that the house makes: the embedded cluster, keys."""
        return Path(self.data_dir).expanduser() if self.data_dir else default_data_root()

    @property
    def metrics_dir(self) -> Path:
        """Where every process of this machine leaves its metrics, so that any server can show them all."""
        return self.data_root / "metrics"

    @property
    def token_key_file(self) -> Path:
        """The key that signs API tokens."""
        return self._key_file(self.tokens.key_file, "tokens.json")

    @property
    def customer_key_file(self) -> Path:
        """The key that wraps people's data keys."""
        return self._key_file(self.customers.key_file, "customers.json")

    def _key_file(self, given: str, name: str) -> Path:
        return Path(given).expanduser() if given else self.data_root / "keys" / name


def find_config(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file: the one asked for, `RICKHOUSE_CONFIG`, `./rickhouse.toml`, the user's own; None for none.

    Raises SettingsError when a file that was asked for does not exist.
    """
    asked = explicit or (Path(environ[_CONFIG_VARIABLE]) if environ.get(_CONFIG_VARIABLE) else None)
    if asked is not None:
        if not asked.is_file():
            raise SettingsError(f"The settings file {asked} does not exist.")
        return asked
    places = (Path(_FILE_NAME), platformdirs.user_config_path("rickhouse") / _FILE_NAME)
    return next((place for place in places if place.is_file()), None)


def load_settings(
    config: Path | None = None, environ: Mapping[str, str] = MappingProxyType(os.environ)
) -> Settings:
    """Read the file, lay the environment over it, check every name and value.

    `config` is the file that the command line names. Raises SettingsError.
    """
    path = find_config(config, environ)
    origins: dict[str, str] = {}
    tree: dict[str, object] = {}
    if path is not None:
        tree = _read_toml(path)
        for name in _names(Settings, tree, (), str(path)):
            origins[name] = str(path)
    for variable, text in environ.items():
        if variable.startswith(_PREFIX) and variable not in _OTHER_VARIABLES:
            name = _lay_over(tree, variable, text)
            origins[name] = f"the environment variable {variable}"
    try:
        return msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(error, origins)) from error


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error


def _names(kind: object, value: object, path: tuple[str, ...], origin: str) -> Generator[str]:
    """The dotted names of the settings in `value`. Raises SettingsError at one that `kind` does not have."""
    if not _is_section(kind) or not isinstance(value, dict):
        yield ".".join(path)
        return
    for key, inner in cast("dict[str, object]", value).items():
        yield from _names(_kind_of((*path, key), origin), inner, (*path, key), origin)


def _lay_over(tree: dict[str, object], variable: str, text: str) -> str:
    """Put one variable's value in its place in `tree`, and answer with the setting's dotted name."""
    path = tuple(variable.removeprefix(_PREFIX).lower().split("__"))
    origin = f"the environment variable {variable}"
    kind = _kind_of(path, origin)
    *tables, last = path
    for table in tables:
        inner = tree.setdefault(table, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{table} is not a table, so {origin} cannot set a part of it.")
        tree = cast("dict[str, object]", inner)
    tree[last] = _parse(kind, text)
    return ".".join(path)


def _parse(kind: object, text: str) -> object:
    """A string is taken as it is; anything else is JSON, which agrees with TOML on numbers and booleans."""
    if _bare(kind) is str:
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _kind_of(path: tuple[str, ...], origin: str) -> object:
    """The declared type of the setting at `path`. Raises SettingsError when there is none."""
    kind: object = Settings
    for depth, part in enumerate(path):
        fields = (
            {known.name: known.type for known in msgspec.structs.fields(kind)} if _is_section(kind) else {}
        )
        if part in fields:
            kind = fields[part]
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            name, place = ".".join(path), ".".join(path[:depth])
            known = f"; {place or 'the file'} has {', '.join(fields)}" if fields else ""
            raise SettingsError(f"{name} in {origin} is not a setting{known}.")
    return kind


def _is_section(kind: object) -> TypeGuard[type[Section]]:
    return isinstance(kind, type) and issubclass(kind, Section)


def _bare(kind: object) -> object:
    """The type without its constraints."""
    if get_origin(kind) is Annotated:
        return get_args(kind)[0]
    return str if get_origin(kind) is Literal else kind


def _explain(error: msgspec.ValidationError, origins: Mapping[str, str]) -> str:
    """Name the setting and its place; msgspec's own words name the types and never repeat the value of a string."""
    said = str(error)
    found = _MSGSPEC_PATH.search(said)
    name = re.split(r"\[", found["path"])[0] if found else ""
    reason = _MSGSPEC_PATH.sub("", said)
    places = [origin for known, origin in origins.items() if known == name or known.startswith(f"{name}.")]
    return f"{name} in {' and '.join(dict.fromkeys(places)) or 'the settings'} is not valid: {reason}."
