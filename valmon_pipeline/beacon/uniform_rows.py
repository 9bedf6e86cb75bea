"""Reads a JSON list of like objects of quoted integers with NumPy, eight characters at a time.

Nodes write the million rows of a rewards answer all in the same way:
``{"validator_index":"17","head":"4431"},…``. Between the digits stands the same text in every row,
so the rows can be read side by side. Every byte is either read as a digit or compared with that
text: an answer written in any other way is not misread, it is left to the general decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.registry import Int64Array

_Words = npt.NDArray[np.uint64]
_Positions = npt.NDArray[np.int64]

_BLOCK: Final = 1 << 20
_ROWS_AT_ONCE: Final = 1 << 14
_WORD: Final = 8
_MAX_DIGITS: Final = 2 * _WORD - 1
"""More than a million ETH in gwei; longer numbers are left to the general decoder."""

_ZEROS: Final = np.uint64(0x3030303030303030)
_CARRY_ABOVE_9: Final = np.uint64(0x7676767676767676)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_MINUS: Final = np.uint64(ord("-"))
_ONE: Final = np.uint64(1)


class _NotUniformError(Exception):
    """A row is not written like the first one, or holds something else than plain integers."""


def read_uniform_rows(text: memoryview, fields: Sequence[str]) -> tuple[Int64Array, ...] | None:
    """Return one column per field of a JSON list, or None if its rows are not written alike.

    None says nothing about the list: it may be empty, malformed or just written differently.
    """
    starts = _object_starts(text)
    if len(starts) < 2 or starts[0] != 1 or bytes(text[:1]) + bytes(text[-1:]) != b"[]":
        return None
    keys = _keys(bytes(text[1 : starts[1] - 1]))
    if keys is None or not set(fields) <= set(keys):
        return None
    # The last row has no room behind it for reading whole words: it is read on its own.
    last = _last_row(bytes(text[starts[-1] : -1]), keys)
    if last is None:
        return None
    words: _Words = np.ndarray(
        (len(text) - _WORD + 1,), dtype="<u8", buffer=text, strides=(1,)
    )  # overlapping: one word starts at every byte
    columns = {field: np.empty(len(starts), np.int64) for field in fields}
    try:
        for first in range(0, len(starts) - 1, _ROWS_AT_ONCE):
            rows = slice(first, min(first + _ROWS_AT_ONCE, len(starts) - 1))
            _read_rows(words, starts[rows.start : rows.stop + 1], keys, columns, rows)
    except (_NotUniformError, IndexError):  # IndexError: a row runs into the end of the text
        return None
    for field, column in columns.items():
        column[-1] = last[field]
    return tuple(columns[field] for field in fields)


def _object_starts(text: memoryview) -> _Positions:
    characters = np.frombuffer(text, np.uint8)
    found = [
        np.flatnonzero(characters[begin : begin + _BLOCK] == ord("{")) + begin
        for begin in range(0, len(characters), _BLOCK)
    ]
    return np.concatenate([np.empty(0, np.int64), *found])


def _keys(row: bytes) -> list[str] | None:
    try:
        return list(msgspec.json.decode(row, type=dict[str, str]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _last_row(row: bytes, keys: list[str]) -> dict[str, int] | None:
    try:
        texts = msgspec.json.decode(row, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    digits = [text.removeprefix("-") for text in texts.values()]
    if list(texts) != keys or not all(
        text.isascii()
        and text.isdigit()
        and len(text) <= _MAX_DIGITS
        and (text == "0" or text[0] != "0")
        for text in digits
    ):
        return None
    return {key: int(text) for key, text in texts.items()}


def _read_rows(
    words: _Words,
    starts: _Positions,
    keys: list[str],
    columns: dict[str, Int64Array],
    rows: slice,
) -> None:
    """Read the rows at all ``starts`` but the last, which is where they have to end."""
    at = starts[:-1]
    at = _skip(words, at, b'{"%b":"' % keys[0].encode())
    for number, key in enumerate(keys):
        value, at = _read_integers(words, at, wanted=key in columns)
        if value is not None:
            columns[key][rows] = value
        following = keys[number + 1 :]
        between = b'","%b":"' % following[0].encode() if following else b'"},'
        at = _skip(words, at, between)
    if not np.array_equal(at, starts[1:]):
        raise _NotUniformError


def _skip(words: _Words, at: _Positions, text: bytes) -> _Positions:
    """Return the positions behind ``text``, which has to stand at all of them."""
    for begin in range(0, len(text), _WORD):
        part = text[begin : begin + _WORD]
        found = words[at + begin]
        if len(part) < _WORD:
            found &= np.uint64((1 << 8 * len(part)) - 1)
        if not bool((found == np.uint64(int.from_bytes(part, "little"))).all()):
            raise _NotUniformError
    return at + len(text)


def _read_integers(
    words: _Words, at: _Positions, *, wanted: bool
) -> tuple[Int64Array | None, _Positions]:
    """Return the integers at the positions (None if not wanted), and the positions behind them."""
    word = words[at]
    negative = (word & np.uint64(0xFF)) == _MINUS
    any_negative = bool(negative.any())
    if any_negative:
        at = at + negative
        word = words[at]
    word ^= _ZEROS
    count = _digit_count(word)
    leading_zero = ((word & np.uint64(0xFF)) == 0) & (count != _ONE)
    if bool(leading_zero.any()) or not bool(count.all()):
        raise _NotUniformError
    value = _number(word, count) if wanted else None
    behind = at + count.view(np.int64)
    long = np.flatnonzero(count == np.uint64(_WORD))
    if len(long):
        word = words[behind[long]] ^ _ZEROS
        count = _digit_count(word)
        if bool((count == np.uint64(_WORD)).any()):
            raise _NotUniformError
        behind[long] += count.view(np.int64)
        if value is not None:
            more = count > 0
            value[long[more]] *= np.uint64(10) ** count[more]
            value[long[more]] += _number(word[more], count[more])
    if value is None:
        return None, behind
    signed = value.view(np.int64)
    if any_negative:
        np.negative(signed, out=signed, where=negative)
    return signed, behind


def _digit_count(word: _Words) -> _Words:
    """Return how many of a word's first characters are digits; ``word`` is XORed with ``_ZEROS``.

    A byte above 9 gets its high bit set by the addition (or has it); what carries into the bytes
    above it does not matter, as only the lowest one counts.
    """
    other = word + _CARRY_ABOVE_9
    other |= word
    other &= _HIGH_BITS
    below = other - _ONE
    below &= ~other
    count: _Words = (np.bitwise_count(below) >> 3).astype(np.uint64)
    return count


def _number(word: _Words, count: _Words) -> _Words:
    """Return the number that the first ``count`` (1 to 8) digits of each word spell."""
    word = word << (np.uint64(8 * _WORD) - (count << np.uint64(3)))
    for mask, factor, shift in (
        (0x0F0F0F0F0F0F0F0F, 10 << 8 | 1, 8),
        (0x00FF00FF00FF00FF, 100 << 16 | 1, 16),
        (0x0000FFFF0000FFFF, 10_000 << 32 | 1, 32),
    ):
        word &= np.uint64(mask)
        word *= np.uint64(factor)
        word >>= np.uint64(shift)
    return word
