"""A list as a value: a row of chunks.

Problem. Both ends must be cheap to push to and pop from, a range near either end must cost little
more than copying it, and the middle of a long list must be reachable in reasonable time.

Idea: a row of chunks, Python lists of at most LIST_CHUNK_ITEMS items. Both ends are held directly;
most lists are one chunk only, and then it is both ends at once.

    front [a b c]   middle deque([d .. e] [f .. g] [h .. i])   back [j k l]
    front is back: [a b c]                                     one chunk, no middle

An end is full with LIST_END_ITEMS items, for an insertion at the left of a chunk moves all of it.
The next push starts a new chunk, and the full one joins its neighbour in the middle as long as
both fit in one, because the middle is walked chunk by chunk. Ranges are slices of chunks; what
changes the middle edits one chunk, and splits it, or joins small neighbours, when the row gets
uneven.

Invariants: `size` is the sum of the chunks' lengths; no chunk is empty, but the only one of an
empty list; no chunk is longer than LIST_CHUNK_ITEMS; `front is back` exactly when there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

#: Most items in one chunk: what a removal at its left end moves (4 KiB of pointers).
LIST_CHUNK_ITEMS = 512
#: An end with so many items takes no further push: what an insertion at its left end moves.
LIST_END_ITEMS = 64
_CHUNK = LIST_CHUNK_ITEMS
_END = LIST_END_ITEMS
#: Bytes of a list object with its first chunk, and of each further one, without items.
_LIST_BYTES = 144
_CHUNK_BYTES = 72
#: Bytes of a bytes object beyond its contents, rounded as the allocator does.
_ITEM_BYTES = 48


class List:
    """A sequence of bytes. Indexes are from 0 and within bounds: callers check."""

    type_name = b"list"
    encoding = b"quicklist"

    def __init__(self, items: Iterable[bytes] = ()) -> None:
        self.front: list[bytes] = []
        self.back = self.front
        self.middle: Any = None
        self.size = 0
        if items:
            self._adopt(_chunked(list(items)))

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks():
            yield from chunk

    def chunks(self) -> list[list[bytes]]:
        """The chunks in order, as they are."""
        if self.front is self.back:
            return [self.front]
        if not self.middle:
            return [self.front, self.back]
        return [self.front, *self.middle, self.back]

    def copy(self) -> List:
        """A list of its own with the same items."""
        twin = List()
        twin._adopt([chunk[:] for chunk in self.chunks()])
        return twin

    def memory_bytes(self, samples: int) -> int:
        """Bytes taken, estimated from the first `samples` items (all for 0)."""
        chunks = 1 + (self.front is not self.back) + len(self.middle or ())
        total = _LIST_BYTES + _CHUNK_BYTES * (chunks - 1) + 8 * self.size
        sampled = self.slice(0, min(samples, self.size) if samples > 0 else self.size)
        if sampled:
            contents = sum(map(len, sampled)) + _ITEM_BYTES * len(sampled)
            total += contents * self.size // len(sampled)
        return total

    # -- the ends ------------------------------------------------------------------------------

    def push_left(self, item: bytes) -> int:
        """Adds before the first item; returns the new length."""
        front = self.front
        if len(front) >= _END:
            self._new_front(item)
        else:
            front.insert(0, item)
        self.size += 1
        return self.size

    def push_right(self, item: bytes) -> int:
        """Adds after the last item; returns the new length."""
        back = self.back
        if len(back) >= _END:
            self._new_back(item)
        else:
            back.append(item)
        self.size += 1
        return self.size

    def pop_left(self) -> bytes:
        """Takes the first item of a list that is not empty."""
        front = self.front
        item = front.pop(0)
        self.size -= 1
        if not front:
            self._next_front()
        return item

    def pop_right(self) -> bytes:
        """Takes the last item of a list that is not empty."""
        back = self.back
        item = back.pop()
        self.size -= 1
        if not back:
            self._next_back()
        return item

    def pop_many(self, count: int, left: bool) -> list[bytes]:
        """Takes up to `count` items from one end, in the order of single pops."""
        count = min(count, self.size)
        if left:
            taken = self.slice(0, count)
            self.drop_left(count)
        else:
            taken = self.slice(self.size - count, self.size)
            taken.reverse()
            self.drop_right(count)
        return taken

    def drop_left(self, count: int) -> None:
        """Forgets the first `count` items."""
        while count:
            front = self.front
            cut = min(count, len(front))
            del front[:cut]
            self.size -= cut
            count -= cut
            if not front:
                self._next_front()

    def drop_right(self, count: int) -> None:
        """Forgets the last `count` items."""
        while count:
            back = self.back
            cut = min(count, len(back))
            del back[len(back) - cut :]
            self.size -= cut
            count -= cut
            if not back:
                self._next_back()

    def _new_front(self, item: bytes) -> None:
        front, middle = self.front, self.middle
        self.front = [item]
        if front is self.back:
            return
        if middle is None:
            self.middle = deque((front,))
        elif middle and len(middle[0]) + len(front) <= _CHUNK:
            middle[0][:0] = front
        else:
            middle.appendleft(front)

    def _new_back(self, item: bytes) -> None:
        back, middle = self.back, self.middle
        self.back = [item]
        if back is self.front:
            return
        if middle is None:
            self.middle = deque((back,))
        elif middle and len(middle[-1]) + len(back) <= _CHUNK:
            middle[-1] += back
        else:
            middle.append(back)

    def _next_front(self) -> None:
        self.front = self.middle.popleft() if self.middle else self.back

    def _next_back(self) -> None:
        self.back = self.middle.pop() if self.middle else self.front

    # -- anywhere ------------------------------------------------------------------------------

    def get(self, index: int) -> bytes:
        """The item at `index`."""
        chunk, offset = self._locate(index)
        return chunk[offset]

    def set(self, index: int, item: bytes) -> None:
        """Replaces the item at `index`."""
        chunk, offset = self._locate(index)
        chunk[offset] = item

    def slice(self, start: int, stop: int) -> list[bytes]:
        """A new list of the items from `start` up to, not including, `stop`."""
        if stop <= len(self.front):
            return self.front[start:stop]
        if start > self.size // 2:
            return self._slice_from_back(start, stop)
        result: list[bytes] = []
        position = 0
        for chunk in self.chunks():
            if position >= stop:
                break
            if position + len(chunk) > start:
                result += chunk[max(0, start - position) : stop - position]
            position += len(chunk)
        return result

    def insert(self, pivot: bytes, item: bytes, after: bool) -> bool:
        """Adds next to the first item equal to `pivot`; False where there is none."""
        for chunk in self.chunks():
            if pivot in chunk:
                chunk.insert(chunk.index(pivot) + after, item)
                self.size += 1
                if len(chunk) > _CHUNK:
                    self._even()
                return True
        return False

    def remove(self, item: bytes, count: int) -> int:
        """Removes up to `count` items equal to `item`, from the end if negative, all for 0.

        Returns how many it removed."""
        left = abs(count) or self.size
        removed = 0
        chunks = self.chunks()
        for chunk in reversed(chunks) if count < 0 else chunks:
            here = chunk.count(item)
            if not here:
                continue
            if here <= left - removed:
                chunk[:] = [kept for kept in chunk if kept != item]
                removed += here
            else:
                _remove_some(chunk, item, left - removed, count < 0)
                removed = left
            if removed == left:
                break
        if removed:
            self._even()
        return removed

    def positions(self, item: bytes, rank: int, count: int, length_max: int) -> list[int]:
        """Indexes of items equal to `item`, from the `rank`-th match on (negative: from the end).

        At most `count` of them (0: all), looking at `length_max` items at most (0: all)."""
        found: list[int] = []
        skip = abs(rank) - 1
        chunks = self.chunks()
        if rank < 0:
            chunks.reverse()
        seen = 0
        for chunk in chunks:
            if length_max and seen >= length_max:
                break
            if item in chunk:
                for offset, other in enumerate(reversed(chunk) if rank < 0 else chunk, seen):
                    if other != item or (length_max and offset >= length_max):
                        continue
                    if skip:
                        skip -= 1
                        continue
                    found.append(self.size - 1 - offset if rank < 0 else offset)
                    if len(found) == count:
                        return found
            seen += len(chunk)
        return found

    # -- parts ---------------------------------------------------------------------------------

    def _locate(self, index: int) -> tuple[list[bytes], int]:
        """The chunk that holds `index`, and where in it."""
        if index < len(self.front):
            return self.front, index
        behind = self.size - index
        if behind <= len(self.back):
            return self.back, len(self.back) - behind
        if index <= behind:
            index -= len(self.front)
            for chunk in self.middle:
                if index < len(chunk):
                    return chunk, index
                index -= len(chunk)
        behind -= len(self.back)
        for chunk in reversed(self.middle):
            if behind <= len(chunk):
                return chunk, len(chunk) - behind
            behind -= len(chunk)
        raise IndexError(index)

    def _slice_from_back(self, start: int, stop: int) -> list[bytes]:
        pieces: list[list[bytes]] = []
        end = self.size
        for chunk in reversed(self.chunks()):
            if end <= start:
                break
            end -= len(chunk)
            if end < stop:
                pieces.append(chunk[max(0, start - end) : stop - end])
        result: list[bytes] = []
        for piece in reversed(pieces):
            result += piece
        return result

    def _even(self) -> None:
        """Splits chunks that are too long, joins short neighbours, drops empty ones."""
        row: list[list[bytes]] = []
        for chunk in self.chunks():
            if len(chunk) > _CHUNK:
                row += [chunk[: _CHUNK // 2], chunk[_CHUNK // 2 :]]
            elif row and len(row[-1]) + len(chunk) <= _CHUNK // 2:
                row[-1] += chunk
            elif chunk:
                row.append(chunk)
        self._adopt(row)

    def _adopt(self, row: list[list[bytes]]) -> None:
        """Takes a row of chunks, none of them empty, for its own."""
        self.front = row[0] if row else []
        self.back = row[-1] if row else self.front
        self.middle = deque(row[1:-1]) if len(row) > 2 else None
        self.size = sum(map(len, row))


def list_of(items: list[bytes]) -> List:
    """A list of `items`, which is its own from then on."""
    value = List()
    if len(items) <= _CHUNK:
        value.front = value.back = items
        value.size = len(items)
    else:
        value._adopt(_chunked(items))
    return value


def _chunked(items: list[bytes]) -> list[list[bytes]]:
    if len(items) <= _CHUNK:
        return [items] if items else []
    return [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]


def _remove_some(chunk: list[bytes], item: bytes, count: int, from_end: bool) -> None:
    """Removes the first or last `count` of more occurrences."""
    if from_end:
        chunk.reverse()
    for _ in range(count):
        chunk.remove(item)
    if from_end:
        chunk.reverse()
