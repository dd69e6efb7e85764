"""Numbers in requests: which spellings are numbers, and how results are written.

Integers are what Redis takes for one: the decimal form that it would print itself, within 64 bits.
So no plus, no leading zero, no space: "+1", "01" and "-0" are no integers.

Doubles are what C's strtod takes without anything before or after it, hexadecimal and inf among
them, nan not; a number too large, or so small that it becomes zero, is refused.

Long doubles. INCRBYFLOAT and HINCRBYFLOAT compute in the 80-bit format of x86 and print 17
decimals, from which clients see 0.1 + 0.2 = 0.3. Here such a number is an exact `Fraction` whose
numerator was rounded to 64 significant bits, half to even, after every step: the same answers on
every machine. Infinity is the float.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from cache_server.errors import CommandError, not_a_float, not_an_integer

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

#: A long double of 64 significant bits, or infinity.
LongDouble = Fraction | float

#: Longest text read as a long double, as in Redis (MAX_LONG_DOUBLE_CHARS).
_LONG_DOUBLE_CHARS_MAX = 5 * 1024
_LONG_DOUBLE_BITS = 64
#: Powers of two and of ten that bound a finite, non-zero 80-bit number (denormals included).
_LONG_DOUBLE_LIMIT = Fraction(2**64 - 1) * 2 ** (16384 - 64)
_LONG_DOUBLE_LEAST = Fraction(1, 2 ** (16382 + 63))
_LONG_DOUBLE_TENS_MAX = 5000
#: Python reads and writes integers up to this many digits at once; further digits of a mantissa
#: are far below the last bit.
_DIGITS_MAX = 4000

_NUMBER = re.compile(
    rb"([+-]?)(?:"
    rb"(?P<inf>inf(?:inity)?)"
    rb"|0x(?P<hex>(?=\.?[0-9a-f])[0-9a-f]*(?:\.[0-9a-f]*)?)(?:p(?P<twos>[+-]?[0-9]+))?"
    rb"|(?P<dec>(?=\.?[0-9])[0-9]*(?:\.[0-9]*)?)(?:e(?P<tens>[+-]?[0-9]+))?"
    rb")",
    re.IGNORECASE,
)


_MINUS, _ZERO, _UNDERSCORE = b"-0_"


def integer_or_none(word: bytes) -> int | None:
    """The integer that `word` spells, or None."""
    size = len(word)
    start = 1 if size > 1 and word[0] == _MINUS else 0
    if size == 0 or size - start > 19 or (word[start] == _ZERO and size > 1):
        return None
    value = 0
    for index in range(start, min(size, start + 18)):
        digit = word[index] - _ZERO
        if not 0 <= digit <= 9:
            return None
        value = value * 10 + digit
    if size - start == 19:
        return _last_digit(word)
    return -value if start else value


def _last_digit(word: bytes) -> int | None:
    """Nineteen digits, of which the first eighteen are known to be digits."""
    if not word[-1:].isdigit():
        return None
    value = int(word)
    return value if INT64_MIN <= value <= INT64_MAX else None


def parse_integer(word: bytes) -> int:
    """The integer that `word` spells. Raises CommandError."""
    value = integer_or_none(word)
    if value is None:
        raise not_an_integer()
    return value


def parse_in_range(word: bytes, low: int, high: int, message: bytes = b"") -> int:
    """An integer from `low` to `high`. Raises CommandError: `message` for any fault, if given."""
    value = integer_or_none(word)
    if value is None:
        raise CommandError(message) if message else not_an_integer()
    if not low <= value <= high:
        raise CommandError(
            message or b"ERR value is out of range, value must between %d and %d" % (low, high)
        )
    return value


def parse_int(word: bytes, message: bytes = b"") -> int:
    """A C int (a database's index). Raises CommandError, with `message` if given."""
    return parse_in_range(word, -(2**31), 2**31 - 1, message)


def parse_positive(word: bytes) -> int:
    """An integer that is not negative (a count). Raises CommandError."""
    return parse_in_range(word, 0, INT64_MAX, b"ERR value is out of range, must be positive")


def float_or_none(word: bytes) -> float | None:
    """The double that `word` spells, or None; infinities are, nan is not."""
    if len(word) < 16:
        whole = integer_or_none(word)
        if whole is not None:
            return float(whole)
    return _spelled_float(word)


def _spelled_float(word: bytes) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return _hexadecimal(word)
    if word[0] <= 32 or word[-1] <= 32 or _UNDERSCORE in word or value != value:
        return None
    if value == 0.0 and any(48 < byte <= 57 for byte in word.lower().partition(b"e")[0]):
        return None
    if math.isinf(value) and not word[-1] > 57:
        return None
    return value


def _hexadecimal(word: bytes) -> float | None:
    if len(word) > _LONG_DOUBLE_CHARS_MAX:
        return None
    matched = _NUMBER.fullmatch(word)
    if matched is None or matched["hex"] is None:
        return None
    try:
        value = float.fromhex(word.decode())
    except OverflowError:
        return None
    return None if value == 0.0 and matched["hex"].strip(b"0.") else value


def parse_float(word: bytes) -> float:
    """The double that `word` spells; may be infinite. Raises CommandError."""
    value = float_or_none(word)
    if value is None:
        raise not_a_float()
    return value


# -- long doubles ------------------------------------------------------------------------------


def long_double_or_none(word: bytes) -> LongDouble | None:
    """The long double that `word` spells, or None; infinities are, nan is not."""
    if len(word) >= _LONG_DOUBLE_CHARS_MAX:
        return None
    matched = _NUMBER.fullmatch(word)
    if matched is None:
        return None
    sign = -1 if matched[1] == b"-" else 1
    if matched["inf"]:
        return sign * math.inf
    if matched["hex"] is not None:
        exact = _scaled(matched["hex"], 16, matched["twos"], 2, 4 * _LONG_DOUBLE_TENS_MAX)
    else:
        exact = _scaled(matched["dec"], 10, matched["tens"], 10, _LONG_DOUBLE_TENS_MAX)
    if exact is None:
        return None
    value = _rounded(sign * exact)
    return None if isinstance(value, float) or (exact and not value) else value


def _scaled(
    digits: bytes, base: int, exponent: bytes | None, power: int, power_max: int
) -> Fraction | None:
    """digits * power ** exponent exactly; None when that is far beyond the format's range."""
    whole, _, part = digits.partition(b".")
    known = (whole + part)[:_DIGITS_MAX]
    mantissa = int(known, base)
    shift = int(exponent[:12]) if exponent else 0
    if mantissa == 0:
        return Fraction(0)
    if abs(shift) > power_max + len(digits) * 4:
        return None
    places = len(known) - len(whole)
    return mantissa * _power(power, shift) * _power(base, -places)


def _power(base: int, exponent: int) -> Fraction:
    return Fraction(base**exponent) if exponent >= 0 else Fraction(1, base**-exponent)


def _rounded(value: Fraction) -> LongDouble:
    """The nearest long double: 64 bits, half to even; infinite beyond the format's range."""
    if not value:
        return value
    magnitude = abs(value)
    shift = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** shift > magnitude:
        shift -= 1
    unit = Fraction(2) ** (shift - _LONG_DOUBLE_BITS + 1)
    if unit < _LONG_DOUBLE_LEAST:
        unit = _LONG_DOUBLE_LEAST
    rounded = round(magnitude / unit) * unit
    if rounded > _LONG_DOUBLE_LIMIT:
        return math.inf if value > 0 else -math.inf
    return rounded if value > 0 else -rounded


def parse_long_double(word: bytes) -> LongDouble:
    """The long double that `word` spells; may be infinite. Raises CommandError."""
    value = long_double_or_none(word)
    if value is None:
        raise not_a_float()
    return value


def add_long_doubles(left: LongDouble, right: LongDouble) -> LongDouble:
    """The sum as the 80-bit format gives it; may be infinite, or nan for inf - inf."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _rounded(left + right)
    if isinstance(left, float) and isinstance(right, float):
        return left + right
    return left if isinstance(left, float) else right


def format_long_double(value: LongDouble) -> bytes:
    """17 decimals without the zeros at the end, never an exponent; inf and -inf."""
    if isinstance(value, float):
        return b"%.17g" % value
    units = round(abs(value) * 10**17)
    whole, part = divmod(units, 10**17)
    text = _decimal(whole) + b".%017d" % part
    text = text.rstrip(b"0").rstrip(b".")
    return text if value >= 0 or text == b"0" else b"-" + text


def _decimal(value: int) -> bytes:
    high, low = divmod(value, 10**_DIGITS_MAX)
    return b"%d%0*d" % (high, _DIGITS_MAX, low) if high else b"%d" % low


def incremented(current: LongDouble, increment: LongDouble) -> bytes:
    """The text of the sum. Raises CommandError where it is no finite number."""
    total = add_long_doubles(current, increment)
    if isinstance(total, float):
        raise CommandError(b"ERR increment would produce NaN or Infinity")
    return format_long_double(total)
