"""The rules about people: what is valid, who is the same, who is of age, what a mask shows."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.customers.contract import PersonInvalid
from rickhouse.customers.model import (
    address_key,
    checked,
    checked_email,
    email_key,
    identity_key,
    is_of_age,
    masked_email,
    masked_name,
    masked_phone,
)
from tests.customers.samples import ADA, MEDORA, somebody

TODAY = date(2026, 3, 1)


def refusal(**changes: Any) -> tuple[str, str]:  # noqa: ANN401  a field of any type
    """Field and rule that a person with these changes breaks."""
    person = somebody(**changes)
    with pytest.raises(PersonInvalid) as refused:
        checked(person, TODAY)
    for value in changes.values():
        # Short values (`9`, `US`) stand in the rule itself.
        assert len(str(value)) < 6 or str(value) not in f"{refused.value.detail} {refused.value.facts}"
    assert set(refused.value.facts) == {"field", "rule"}
    return str(refused.value.facts["field"]), str(refused.value.facts["rule"])


def test_valid_person_is_kept_as_written() -> None:
    assert checked(ADA, TODAY) == ADA


def test_white_space_around_fields_is_dropped() -> None:
    spaced = somebody(
        name="  Ada Example ", email=" Ada@Example.COM ", phone=" +17015550123 ", city=" Medora"
    )
    found = checked(spaced, TODAY)
    assert (found.name, found.email, found.phone, found.address.city) == (
        "Ada Example",
        "Ada@example.com",
        "+17015550123",
        "Medora",
    )


@pytest.mark.parametrize(
    "email",
    [
        "a@b.co",
        "o'neil+bottles@mail.example.com",
        "a.b-c_d@example.museum",
        "用户@example.com",
        f"{'x' * 64}@example.com",
        f"a@{'.'.join(['b' * 63] * 3)}.{'c' * 57}.co",
    ],
)
def test_email_is_taken(email: str) -> None:
    assert checked_email(email) == email


@pytest.mark.parametrize(
    ("email", "kept"),
    [
        ("Ada@EXAMPLE.Com", "Ada@example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_domain_is_written_as_idna_does(email: str, kept: str) -> None:
    assert checked_email(email) == kept


@pytest.mark.parametrize(
    ("email", "rule"),
    [
        ("", "rfc5321"),
        ("ada", "rfc5321"),
        ("@example.org", "rfc5321"),
        ("ada@@example.com", "rfc5321"),
        ("ada@home@example.com", "rfc5321"),
        ("ada example@example.com", "rfc5321"),
        ("ada\x00@example.com", "rfc5321"),
        ("ada\r\nbcc:x@example.com", "rfc5321"),
        ("ada..b@example.com", "rfc5321"),
        (".ada@example.com", "rfc5321"),
        ('"ada"@example.com', "rfc5321"),
        (f"{'x' * 65}@example.com", "rfc5321"),
        (f"{'ü' * 33}@example.com", "rfc5321"),
        (f"a@{'b' * 250}.com", "rfc5321"),
        (f"{'x' * 64}@{'.'.join(['b' * 62] * 3)}.com", "rfc5321"),
        ("ada\ud800@example.com", "rfc5321"),
        ("ada@", "domain"),
        ("ada@localhost", "domain"),
        ("ada@192.0.2.1", "domain"),
        ("ada@[192.0.2.1]", "domain"),
        ("ada@-example.com", "domain"),
        ("ada@example..com", "domain"),
        ("ada@exa_mple.com", "domain"),
        ("ada@xn--zz.com", "idna"),
        ("ada@\ud800.com", "idna"),
        ("ada@☃\u200d.example", "idna"),
    ],
)
def test_email_is_refused(email: str, rule: str) -> None:
    assert refusal(email=email) == ("email", rule)


@pytest.mark.parametrize("name", ["X", "Ζωή Παπαδοπούλου", "Nguyễn Thị Minh Khai", "علی‌رضا", "x" * 200])
def test_name_is_taken(name: str) -> None:
    assert checked(somebody(name=name), TODAY).name == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "required"),
        ("   ", "required"),
        ("\u200b", "required"),
        ("–", "required"),
        ("x" * 201, "max_length"),
        ("Ada\x00Example", "characters"),
        ("Ada\nExample", "characters"),
        ("Ada \u202eelpmaxE", "characters"),
    ],
)
def test_name_is_refused(name: str, rule: str) -> None:
    assert refusal(name=name) == ("name", rule)


@pytest.mark.parametrize("phone", ["", "+17015550123", "+123456789012345", "+6834000"])
def test_phone_is_taken(phone: str) -> None:
    assert checked(somebody(phone=phone), TODAY).phone == phone


@pytest.mark.parametrize(
    "phone", ["2025550123", "+0123456789", "+1 701 555 0123", "+1234567890123456", "+123456", "+١٢٣٤٥٦٧٨٩"]
)
def test_phone_is_refused(phone: str) -> None:
    assert refusal(phone=phone) == ("phone", "e164")


def test_birth_date_lies_between_1900_and_today() -> None:
    for born in (date(1900, 1, 1), TODAY):
        assert checked(somebody(birth_date=born), TODAY).birth_date == born
    for born in (date(1899, 12, 31), TODAY + timedelta(days=1)):
        assert refusal(birth_date=born) == ("birth_date", "range")


@pytest.mark.parametrize(
    ("country", "region", "postal_code"),
    [
        ("US", "US-DC", "20500"),
        ("US", "US-ND", "58645-1234"),
        ("US", "US-ND", "586451234"),
        ("CA", "CA-QC", "H2Y 1C6"),
        ("DE", "DE-BY", "80331"),
        ("AE", "AE-DU", ""),
        ("GB", "GB-ENG", "SW1A 1AA"),
    ],
)
def test_region_and_postal_code_are_taken(country: str, region: str, postal_code: str) -> None:
    found = checked(somebody(country=country, region=region, postal_code=postal_code), TODAY).address
    assert (found.country, found.region, found.postal_code) == (country, region, postal_code)


def test_every_state_of_the_union_and_the_capital_is_a_region() -> None:
    letters = [first + second for first in map(chr, range(65, 91)) for second in map(chr, range(65, 91))]
    taken: list[str] = []
    for subdivision in letters:
        try:
            checked(somebody(region=f"US-{subdivision}"), TODAY)
        except PersonInvalid:
            continue
        taken.append(subdivision)
    assert " ".join(taken) == (
        "AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM NV NY OH "
        "OK OR PA RI SC SD TN TX UT VA VT WA WI WV WY"
    )


@pytest.mark.parametrize(
    ("changes", "field", "rule"),
    [
        ({"country": "USA"}, "address.country", "iso_3166_1"),
        ({"country": "us"}, "address.country", "iso_3166_1"),
        ({"region": "US"}, "address.region", "iso_3166_2"),
        ({"region": "US-"}, "address.region", "iso_3166_2"),
        ({"region": "US-XX"}, "address.region", "iso_3166_2"),
        ({"region": "US-PR"}, "address.region", "iso_3166_2"),
        ({"region": "ND"}, "address.region", "iso_3166_2"),
        ({"region": "CA-ON"}, "address.region", "iso_3166_2"),
        ({"region": "US-ND "}, "address.region", "iso_3166_2"),
        ({"country": "DE", "region": "DE-BAYERN"}, "address.region", "iso_3166_2"),
        ({"country": "DE", "region": "DE-by"}, "address.region", "iso_3166_2"),
        ({"postal_code": ""}, "address.postal_code", "us_zip"),
        ({"postal_code": "5864"}, "address.postal_code", "us_zip"),
        ({"postal_code": "58645-12"}, "address.postal_code", "us_zip"),
        ({"postal_code": "٥٨٦٤٥"}, "address.postal_code", "us_zip"),
        ({"country": "DE", "region": "DE-BY", "postal_code": "8\n1"}, "address.postal_code", "characters"),
        ({"country": "DE", "region": "DE-BY", "postal_code": "8" * 13}, "address.postal_code", "characters"),
        ({"line1": ""}, "address.line1", "required"),
        ({"line1": "x" * 201}, "address.line1", "max_length"),
        ({"line1": "1 Main\x07Street"}, "address.line1", "characters"),
        ({"line2": "x" * 201}, "address.line2", "max_length"),
        ({"city": ""}, "address.city", "required"),
        ({"city": "x" * 101}, "address.city", "max_length"),
    ],
)
def test_address_is_refused(changes: dict[str, Any], field: str, rule: str) -> None:
    assert refusal(**changes) == (field, rule)


@given(st.text(max_size=80))
def test_any_text_as_email_is_taken_or_refused_by_name(text: str) -> None:
    try:
        kept = checked_email(text)
    except PersonInvalid:
        return
    local, _, domain = kept.rpartition("@")
    assert kept == checked_email(kept)
    assert domain == domain.lower()
    assert domain.isascii()
    assert "@" not in local


def test_spellings_of_one_mailbox_share_a_key() -> None:
    assert email_key("Ada@example.com") == email_key("ada@example.com")
    assert email_key("ada+rye@example.com") != email_key("ada@example.com")
    assert email_key("a.da@example.com") != email_key("ada@example.com")


def test_same_person_is_told_by_mailbox_name_and_birth_date() -> None:
    same = somebody(email="ADA@example.com", name="ada  EXAMPLE", phone="", city="Fargo")
    assert identity_key(checked(same, TODAY)) == identity_key(ADA)
    for changes in (
        {"name": "Adam Example"},
        {"birth_date": date(1985, 4, 13)},
        {"email": "ada@example.org"},
    ):
        assert identity_key(somebody(**({"email": ADA.email} | changes))) != identity_key(ADA)


def test_same_address_is_told_per_person() -> None:
    spelled = somebody(line1="1  MAIN street").address
    ada, bob = identity_key(ADA), identity_key(somebody(name="Bob"))
    assert address_key(ada, spelled) == address_key(ada, MEDORA)
    assert address_key(ada, MEDORA) != address_key(bob, MEDORA)
    for changes in ({"line2": ""}, {"city": "Fargo"}, {"region": "US-SD"}, {"postal_code": "58646"}):
        assert address_key(ada, somebody(**changes).address) != address_key(ada, MEDORA)


@pytest.mark.parametrize(
    ("born", "on", "age"),
    [
        (date(2005, 3, 1), date(2026, 2, 28), 20),
        (date(2005, 3, 1), date(2026, 3, 1), 21),
        (date(2005, 12, 31), date(2026, 12, 30), 20),
        (date(2005, 12, 31), date(2026, 12, 31), 21),
        # Born on a leap day: on 1 March where the year has no such day, on the day itself where it has.
        (date(2004, 2, 29), date(2025, 2, 28), 20),
        (date(2004, 2, 29), date(2025, 3, 1), 21),
        (date(2004, 2, 29), date(2028, 2, 28), 23),
        (date(2004, 2, 29), date(2028, 2, 29), 24),
        (date(2026, 3, 2), date(2026, 3, 1), -1),
    ],
)
def test_age_is_complete_on_the_birthday_and_no_day_earlier(born: date, on: date, age: int) -> None:
    assert is_of_age(born, age, on)
    assert not is_of_age(born, age + 1, on)


@given(
    st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    st.integers(1, 100),
    st.dates(date(1900, 1, 1), date(2200, 1, 1)),
)
def test_nobody_grows_younger(born: date, minimum_age: int, on: date) -> None:
    if is_of_age(born, minimum_age, on):
        assert is_of_age(born, minimum_age, on + timedelta(days=1))
        assert is_of_age(born, minimum_age - 1, on)
        assert (on - born).days >= 365 * minimum_age


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        (masked_name("Ada Example"), "A••• E•••"),
        (masked_name("Ada"), "A•••"),
        (masked_email("jane.doe@example.com"), "j•••@example.com"),
        (masked_email("j@example.com"), "•••@example.com"),
        (masked_phone("+17015550142"), "•••• 42"),
        (masked_phone(""), ""),
    ],
)
def test_mask_shows_as_much_as_agreed(mask: str, shown: str) -> None:
    assert mask == shown


def test_personal_shapes_show_nothing_of_themselves() -> None:
    shown = f"{ADA} {ADA!r} {ADA.address} {[ADA, MEDORA]} {ADA.__rich_repr__()}"
    assert shown == "Person(…) Person(…) Address(…) [Person(…), Address(…)] []"
