"""The rules about people: what a valid person is, when two are the same, who is of age, and what masks show.

Keys and ciphertexts never belong here, nor does the question which age the law asks for.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import Final, NoReturn

import idna
import msgspec

from rickhouse.customers.contract import Address, Person, PersonInvalid

_BORN_FIRST: Final = date(1900, 1, 1)

_LOCAL_OCTETS_MAX: Final = 64
_EMAIL_OCTETS_MAX: Final = 254
"""RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.3: a path has 256 octets, two of which are its angle brackets."""

_ATOM: Final = r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff()<>\[\]:;@\\,.\"]+"
_LOCAL_PART: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
"""A dot-atom (RFC 5322 section 3.2.3) with characters of every script (RFC 6531). Quoted local parts are not taken."""

_ASCII_DOMAIN: Final = re.compile(
    r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])\Z"
)
"""RFC 1123 section 2.1, with at least two labels: a buyer's mail server has a name on the public Internet."""

_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Control characters, line separators and what turns the reading direction: a name could hide or forge with them."""

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
"""ITU-T E.164: at most 15 digits, the first of which is not zero."""

_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_SUBDIVISION: Final = re.compile(r"[A-Z0-9]{1,3}")
_POSTAL_CODE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 -]{0,10}[A-Za-z0-9])?")
_ZIP_CODE: Final = re.compile(r"[0-9]{5}(?:-?[0-9]{4})?")

_US_STATE: Final = re.compile(
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]"
)
"""The states and the District of Columbia: ISO 3166-2:US without the outlying areas."""

_HIDDEN: Final = "•••"
_APART: Final = "\x1f"
"""Stands between the parts of an identity; no part can hold it."""


class SealedPerson(msgspec.Struct, frozen=True):
    """A person as the database keeps one: every field sealed."""

    name: bytes
    email: bytes
    phone: bytes | None
    birth_date: bytes


class SealedAddress(msgspec.Struct, frozen=True):
    """An address as the database keeps one: in clear only the region, whose first two letters are the country."""

    region: str
    line1: bytes
    line2: bytes | None
    city: bytes
    postal_code: bytes | None


def checked(person: Person, today: date) -> Person:
    """The person without white space around the fields, the e-mail's domain as IDNA writes it.

    Raises PersonInvalid with the first field that breaks a rule, without its value.
    """
    if not _BORN_FIRST <= person.birth_date <= today:
        _refuse("birth_date", "range", "The birth date must be a day from 1900 on that is not in the future.")
    phone = person.phone.strip()
    if phone and not _E164.fullmatch(phone):
        _refuse("phone", "e164", "Write the phone number in E.164, such as +17015550123, or leave it out.")
    return Person(
        name=_text(person.name, "name", chars_max=200),
        email=checked_email(person.email),
        phone=phone,
        birth_date=person.birth_date,
        address=_checked_address(person.address),
    )


def checked_email(email: str) -> str:
    """The address with its domain in lower case and ASCII (IDNA 2008, RFC 5891, after UTS 46 mapping).

    Raises PersonInvalid.
    """
    email = email.strip()
    local, _, domain = email.rpartition("@")
    # The length comes first: what follows need not be quick about long input.
    if len(email) > _EMAIL_OCTETS_MAX or not _LOCAL_PART.fullmatch(local):
        _refuse(
            "email", "rfc5321", "Write the e-mail address as name@example.com, with at most 254 characters."
        )
    if len(local.encode()) > _LOCAL_OCTETS_MAX:
        _refuse("email", "rfc5321", "The part before the @ of an e-mail address has at most 64 octets.")
    domain = domain.lower()
    if not domain.isascii() or "xn--" in domain:
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except UnicodeError:
            _refuse(
                "email", "idna", "The part after the @ of the e-mail address is not the name of a domain."
            )
    if not _ASCII_DOMAIN.match(domain) or len(local.encode()) + 1 + len(domain) > _EMAIL_OCTETS_MAX:
        _refuse("email", "domain", "The part after the @ of the e-mail address is not the name of a domain.")
    return f"{local}@{domain}"


def _checked_address(address: Address) -> Address:
    country = address.country
    if not _COUNTRY.fullmatch(country):
        _refuse(
            "address.country",
            "iso_3166_1",
            "Write the country as two capital letters (ISO 3166-1), such as US.",
        )
    of_country, dash, subdivision = address.region.partition("-")
    known = _US_STATE if country == "US" else _SUBDIVISION
    if of_country != country or not dash or not known.fullmatch(subdivision):
        _refuse(
            "address.region",
            "iso_3166_2",
            "Write the region as ISO 3166-2 of the same country, such as US-ND.",
        )
    postal_code = address.postal_code.strip()
    if country == "US" and not _ZIP_CODE.fullmatch(postal_code):
        _refuse("address.postal_code", "us_zip", "A postal code in the United States has 5 or 9 digits.")
    if postal_code and not _POSTAL_CODE.fullmatch(postal_code):
        _refuse(
            "address.postal_code",
            "characters",
            "A postal code has letters, digits, spaces and dashes, at most 12.",
        )
    return Address(
        line1=_text(address.line1, "address.line1", chars_max=200),
        line2=_text(address.line2, "address.line2", chars_max=200, needed=False),
        city=_text(address.city, "address.city", chars_max=100),
        region=address.region,
        postal_code=postal_code,
        country=country,
    )


def _text(value: str, field: str, *, chars_max: int, needed: bool = True) -> str:
    """`value` without white space around it. Raises PersonInvalid."""
    value = value.strip()
    if needed and not any(map(str.isalnum, value)):
        _refuse(field, "required", "This field needs at least one letter or digit.")
    if len(value) > chars_max:
        _refuse(field, "max_length", f"This field takes at most {chars_max} characters.")
    if _UNSEEN.search(value):
        _refuse(field, "characters", "This field takes no control characters.")
    return value


def _refuse(field: str, rule: str, detail: str) -> NoReturn:
    raise PersonInvalid(detail, field=field, rule=rule)


def email_key(email: str) -> str:
    """What two spellings of one mailbox share, for the blind index.

    RFC 5321 section 2.4 lets a host tell `Ada` from `ada`, and none in practice does, so the local part is lower-cased
    here; what is kept is as it was written. Dots and `+tags` mean something to single providers only, and stay.
    """
    return unicodedata.normalize("NFC", email).lower()


def identity_key(person: Person) -> str:
    """What makes two registrations the same person: mailbox, name and birth date."""
    return _APART.join((email_key(person.email), _folded(person.name), person.birth_date.isoformat()))


def address_key(identity: str, address: Address) -> str:
    """What makes two addresses of one person the same. The identity is part of it, so that the digests of two people at
    one address have nothing in common."""
    parts = (address.line1, address.line2, address.city, address.postal_code, address.region)
    return _APART.join((identity, *map(_folded, parts)))


def _folded(text: str) -> str:
    """Without differences of case, width and spacing."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def is_of_age(birth_date: date, minimum_age: int, on: date) -> bool:
    """Whether somebody born on `birth_date` is at least `minimum_age` on that day.

    A year of age is complete at the start of the birthday. Born on 29 February, it is complete on 1 March in years
    without that day: the later of the two readings, so that nobody is served a day early.
    """
    had_birthday = (on.month, on.day) >= (birth_date.month, birth_date.day)
    return on.year - birth_date.year - (0 if had_birthday else 1) >= minimum_age


def masked_name(name: str) -> str:
    """`J••• D•••`: the first letter of each word, and no word's length."""
    return " ".join(f"{word[0]}{_HIDDEN}" for word in name.split())


def masked_email(email: str) -> str:
    """`j•••@example.com`. A local part of one letter is hidden whole."""
    local, _, domain = email.rpartition("@")
    return f"{local[0] if len(local) > 1 else ''}{_HIDDEN}@{domain}"


def masked_phone(phone: str) -> str:
    """`•••• 42`, or nothing where no number was given."""
    return f"•••• {phone[-2:]}" if phone else ""
