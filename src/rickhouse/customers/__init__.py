"""The vault of people's data. A name in clear never leaves it except to the vendor that proves an age."""
