"""Settings: what overrides what, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rickhouse.platform.settings import (
    DatabaseSettings,
    LogSettings,
    OrderSettings,
    Settings,
    SettingsError,
    WebSettings,
    find_config,
    load_settings,
)


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file in sight, and none in the user's home."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _refusal(environ: dict[str, str], config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(config, environ)
    return str(refused.value)


def test_without_file_and_environment_every_default_holds() -> None:
    settings = load_settings(None, {})

    assert settings == Settings()
    assert settings.web == WebSettings(host="127.0.0.1", port=8000, workers=2, body_bytes_max=262_144)
    assert settings.orders == OrderSettings(
        hold_ttl_s=900, review_hold_s=86_400, lease_s=15, currency="USD", tax_bp={}, shipping_minor=0
    )
    assert settings.cache.url == "mem://"
    assert (settings.payments.gateway, settings.payments.bank_url) == ("sandbox", "http://127.0.0.1:8090")
    assert (settings.customers.bureau, settings.customers.bureau_url) == ("sandbox", "http://127.0.0.1:8091")


def test_the_environment_overrides_the_file_and_the_file_overrides_defaults(tmp_path: Path) -> None:
    config = _write(
        tmp_path / "shop.toml",
        'data_dir = "/srv/shop"\n[web]\nport = 9000\nworkers = 4\n[remotes]\ninventory = "http://stock:8000"\n',
    )

    settings = load_settings(
        config, {"RICKHOUSE_WEB__PORT": "9001", "RICKHOUSE_REMOTES__PAYMENTS": "http://pay"}
    )

    assert settings.web == WebSettings(port=9001, workers=4)
    assert settings.remotes == {"inventory": "http://stock:8000", "payments": "http://pay"}
    assert settings.data_root == Path("/srv/shop")


def test_environment_values_are_read_by_the_setting_they_set() -> None:
    settings = load_settings(
        None,
        {
            "RICKHOUSE_DATABASE__ROLE_SECRET": "12345",
            "RICKHOUSE_DATABASE__URLS__INVENTORY": "postgresql://stock@/stock",
            "RICKHOUSE_ORDERS__TAX_BP": '{"US-ND": 500}',
            "RICKHOUSE_COMPLIANCE__OUTBOUND_ATTESTED": '["US-ND"]',
            "RICKHOUSE_LOG__FORMAT": "plain",
        },
    )

    assert settings.database == DatabaseSettings(
        role_secret="12345",  # noqa: S106  a string of digits stays a string
        urls={"inventory": "postgresql://stock@/stock"},
    )
    assert settings.orders.tax_bp == {"US-ND": 500}
    assert settings.compliance.outbound_attested == ("US-ND",)
    assert settings.log == LogSettings(format="plain")


def test_the_file_is_looked_for_in_four_places_in_order(tmp_path: Path) -> None:
    home = _write(tmp_path / "home" / "rickhouse" / "rickhouse.toml", "")
    asked = _write(tmp_path / "asked.toml", "")
    named = _write(tmp_path / "named.toml", "")

    assert find_config(None, {}) == home
    here = _write(tmp_path / "here" / "rickhouse.toml", "")
    assert find_config(None, {}) == here.relative_to(tmp_path / "here")
    assert find_config(None, {"RICKHOUSE_CONFIG": str(named)}) == named
    assert find_config(asked, {"RICKHOUSE_CONFIG": str(named)}) == asked


def test_a_file_that_was_asked_for_and_is_absent_is_refused(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"

    assert _refusal({}, absent) == f"The settings file {absent} does not exist."
    assert _refusal({"RICKHOUSE_CONFIG": str(absent)}) == f"The settings file {absent} does not exist."


def test_broken_toml_is_refused_with_the_file_and_the_line(tmp_path: Path) -> None:
    config = _write(tmp_path / "shop.toml", "[web\n")

    refusal = _refusal({}, config)

    assert refusal.startswith(f"{config} is not valid TOML: ")
    assert "line 1" in refusal


@pytest.mark.parametrize(
    ("variable", "value", "refusal"),
    [
        ("LOG__LEVL", "info", "log.levl in {} is not a setting; log has level, format."),
        ("WEB__PORT__LOW", "80", "web.port.low in {} is not a setting."),
        ("WEB__PORT", "eighty", "web.port in {} is not valid: Expected `int`, got `str`."),
        ("WEB__PORT", "70000", "web.port in {} is not valid: Expected `int` <= 65535."),
        ("WEB", "80", "web in {} is not valid: Expected `object`, got `int`."),
        ("LOG__LEVEL", "loud", "log.level in {} is not valid: Invalid enum value 'loud'."),
        ("ORDERS__TAX_BP", '{"US-ND": -1}', "orders.tax_bp in {} is not valid: Expected `int` >= 0."),
    ],
)
def test_a_wrong_variable_is_refused_by_name(variable: str, value: str, refusal: str) -> None:
    name = f"RICKHOUSE_{variable}"

    assert _refusal({name: value}) == refusal.format(f"the environment variable {name}")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ('[log]\nlevl = "info"\n', "log.levl in {} is not a setting; log has level, format."),
        ('[web]\nport = "80"\n', "web.port in {} is not valid: Expected `int`, got `str`."),
        (
            '[remotes]\ninventory = "ftp://x"\n',
            "remotes in {} is not valid: Expected `str` matching regex '^https?://[^/]'.",
        ),
    ],
)
def test_a_wrong_line_is_refused_by_name_and_file(text: str, refusal: str, tmp_path: Path) -> None:
    config = _write(tmp_path / "shop.toml", text)

    assert _refusal({}, config) == refusal.format(config)


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    config = _write(tmp_path / "shop.toml", "[webb]\nport = 80\n")

    assert _refusal({}, config).startswith(
        f"webb in {config} is not a setting; the file has data_dir, database, web,"
    )


def test_variables_that_share_the_prefix_are_not_settings() -> None:
    assert load_settings(None, {"RICKHOUSE_VENDOR_DATA": "/data", "RICKHOUSE_CONFIG": ""}) == Settings()


def test_secrets_stay_out_of_what_is_printed() -> None:
    settings = load_settings(
        None,
        {
            "RICKHOUSE_DATABASE__URL": "postgresql://admin:hunter2@db/shop",
            "RICKHOUSE_DATABASE__ROLE_SECRET": "hunter2",
            "RICKHOUSE_CACHE__URL": "redis://:hunter2@cache",
        },
    )

    assert "hunter2" not in repr(settings)


def test_key_files_lie_in_the_data_directory_unless_placed() -> None:
    settings = load_settings(
        None, {"RICKHOUSE_DATA_DIR": "/srv/shop", "RICKHOUSE_TOKENS__KEY_FILE": "/etc/shop/tokens"}
    )

    assert settings.token_key_file == Path("/etc/shop/tokens")
    assert settings.customer_key_file == Path("/srv/shop/keys/customers.json")
