"""What a label must get right: size of the bottle, strength of the class, label approval, trade item number.

Pure functions over plain values, each with the source of its rule. Prices and states never belong here.
"""

from typing import Final, Literal

from rickhouse.kernel.errors import FieldInvalid

SpiritClass = Literal[
    "whiskey",
    "gin",
    "rum",
    "brandy",
    "vodka",
    "agave",
    "neutral_spirits",
    "liqueur",
    "flavored",
    "specialty",
    "ready_to_drink",
]
"""Our class of a product, which the law of a sale decides on. The designation on the label is the class and type."""

STANDARDS_OF_FILL_ML: Final = (
    *(50, 100, 187, 200, 250, 331, 350, 355, 375, 475, 500, 570, 700, 710, 720, 750, 900, 945),
    *(1_000, 1_500, 1_750, 1_800, 2_000, 3_000, 3_750),
)
"""Net contents in which spirits may be bottled, cans included: 27 CFR 5.203 as amended by T.D. TTB-200, in force since
10 January 2025."""

ABV_BP_MIN: Final = 50
"""Below 0.5 % alcohol by volume a drink is not distilled spirits (27 CFR 5.1)."""

_ABV_BP_FLOOR: Final[dict[SpiritClass, tuple[int, str]]] = {
    "neutral_spirits": (4_000, "27 CFR 5.142"),
    "vodka": (4_000, "27 CFR 5.142"),
    "whiskey": (4_000, "27 CFR 5.143"),
    "gin": (4_000, "27 CFR 5.144"),
    "brandy": (4_000, "27 CFR 5.145"),
    "rum": (4_000, "27 CFR 5.147"),
    "agave": (4_000, "27 CFR 5.148"),
    "flavored": (3_000, "27 CFR 5.151"),
}
"""Least strength at which a class may be bottled under its own name, and the source."""

_GTIN_LENGTHS: Final = (8, 12, 13, 14)


def check_fill(size_ml: int) -> None:
    """Let only a standard of fill pass (27 CFR 5.203). Raises FieldInvalid."""
    if size_ml not in STANDARDS_OF_FILL_ML:
        listed = ", ".join(str(fill) for fill in STANDARDS_OF_FILL_ML)
        raise FieldInvalid(
            f"{size_ml} ml is no standard of fill for spirits (27 CFR 5.203); use one of {listed}.",
            field="size_ml",
            rule="standard_of_fill",
        )


def strength_shortfall(spirit_class: SpiritClass, class_type: str, abv_bp: int) -> tuple[int, str] | None:
    """The least strength in basis points and its source, where `abv_bp` does not reach it; else None.

    Spirits bottled below the floor are legal when the designation says that they are diluted (27 CFR 5.153).
    """
    floor = _ABV_BP_FLOOR.get(spirit_class)
    if floor is None or abv_bp >= floor[0] or "diluted" in class_type.lower():
        return None
    return floor


def check_cola_id(cola_id: str) -> None:
    """Let only a well-formed TTB ID pass: YY, day of the year, receipt method (3), sequence (6). Raises FieldInvalid.

    Whether the certificate exists is known to the public COLA registry alone.
    """
    if len(cola_id) != 14 or not _digits(cola_id):
        raise FieldInvalid(
            "cola_id has 14 digits: YYDDD, three of the receipt method, six of the sequence (TTB F 5100.31).",
            field="cola_id",
            rule="fourteen_digits",
        )
    year, day = int(cola_id[:2]), int(cola_id[2:5])
    # Every fourth two-digit year is a leap year in both centuries that it can mean: 2000 was one, 1900 had no TTB IDs.
    days = 366 if year % 4 == 0 else 365
    if not 1 <= day <= days:
        raise FieldInvalid(
            f"cola_id names day {cola_id[2:5]} of the year {cola_id[:2]}, which has days 001 to {days}; "
            "copy the TTB ID from the certificate.",
            field="cola_id",
            rule="day_of_year",
        )


def check_gtin(gtin: str) -> None:
    """Let only a GTIN-8, -12, -13 or -14 with its check digit pass (GS1 General Specifications 7.9).

    Raises FieldInvalid.
    """
    if len(gtin) not in _GTIN_LENGTHS or not _digits(gtin) or not int(gtin):
        raise FieldInvalid("gtin has 8, 12, 13 or 14 digits, not all zero.", field="gtin", rule="digits")
    if int(gtin[-1]) != gtin_check_digit(gtin[:-1]):
        raise FieldInvalid(
            "gtin does not end in its check digit: one of the digits is wrong. Copy it from the bar code again.",
            field="gtin",
            rule="check_digit",
        )


def gtin_check_digit(digits: str) -> int:
    """The check digit for the `digits` before it: weights 3 and 1 in turn from the right, up to the next ten (GS1
    General Specifications 7.9)."""
    weighted = sum(int(digit) * (3, 1)[index % 2] for index, digit in enumerate(reversed(digits)))
    return -weighted % 10


def _digits(text: str) -> bool:
    """ASCII digits only: `str.isdigit` alone lets other scripts' digits pass."""
    return text.isascii() and text.isdigit()
