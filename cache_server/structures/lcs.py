"""The longest common subsequence of two byte strings, by rows of bits.

Problem: the textbook table of lengths costs a step and a number per pair of bytes. Idea (Crochemore
et al. 2001, Hyyrö 2004): neighbours in a row of that table differ by 0 or 1, so a row is one big
integer with a 0 bit at j where column j+1 is one longer than column j. A row follows from the one
above by an addition and three bit operations on the whole integer.

Walking back needs no lengths either: where the two bytes differ, the way goes up exactly when the
row's bit at j is 0, that is when the cell to the left is shorter. So one bit per pair is kept.

    row i:   V' = (V + (V & M)) | (V & ~M)     M: the places in `right` of the byte left[i-1]
"""

from __future__ import annotations

from collections.abc import Iterator

#: One stretch that matches: the first and last index in `left`, and in `right`.
Stretch = tuple[int, int, int, int]


class CommonSubsequence:
    """The comparison of `left` and `right`: `length` at once, the rest on demand."""

    def __init__(self, left: bytes, right: bytes, keep_rows: bool) -> None:
        self.left, self.right = left, right
        self._rows: list[bytes] = []
        width = len(right)
        full = (1 << width) - 1
        places = dict.fromkeys(set(left), 0)
        for byte in places:
            places[byte] = _places(right, byte)
        row = full
        for byte in left:
            matches = row & places[byte]
            row = ((row + matches) | (row - matches)) & full
            if keep_rows:
                self._rows.append(row.to_bytes((width + 7) // 8, "little"))
        self.length = width - row.bit_count()

    def walk(self) -> Iterator[tuple[int, int, bool]]:
        """From the end: the cells (i, j) passed, as counts of bytes, and whether they match."""
        left, right, rows = self.left, self.right, self._rows
        i, j = len(left), len(right)
        while i > 0 and j > 0:
            if left[i - 1] == right[j - 1]:
                yield i, j, True
                i -= 1
                j -= 1
            else:
                yield i, j, False
                if rows[i - 1][(j - 1) >> 3] >> ((j - 1) & 7) & 1:
                    j -= 1
                else:
                    i -= 1

    def text(self) -> bytes:
        """The subsequence itself."""
        found = bytearray(self.left[i - 1] for i, _, matched in self.walk() if matched)
        found.reverse()
        return bytes(found)

    def stretches(self) -> list[Stretch]:
        """The stretches that match, the last one first."""
        found: list[Stretch] = []
        i_last = j_last = i_first = j_first = -1
        for i, j, matched in self.walk():
            if not matched:
                continue
            if i_first == i and j_first == j:
                i_first, j_first = i - 1, j - 1
                continue
            if i_first >= 0:
                found.append((i_first, i_last, j_first, j_last))
            i_first = i_last = i - 1
            j_first = j_last = j - 1
        if i_first >= 0:
            found.append((i_first, i_last, j_first, j_last))
        return found


def _places(text: bytes, byte: int) -> int:
    """An integer with a 1 at each index where `text` has `byte`."""
    ones = bytes(49 if other == byte else 48 for other in range(256))
    return int.from_bytes(_packed(text.translate(ones)), "little")


def _packed(digits: bytes) -> bytes:
    """Digits 0 and 1, the lowest first, eight to a byte."""
    padded = digits + b"0" * (-len(digits) % 8)
    return bytes(int(padded[at : at + 8][::-1], 2) for at in range(0, len(padded), 8))
