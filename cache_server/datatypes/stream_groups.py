"""Consumer groups of a stream: what was delivered to whom and is not acknowledged.

A group has read up to `last_id`. Each entry that it delivered is pending until it is acknowledged,
and belongs to one consumer. The same `Pending` is held twice, by the group and by its consumer, so
that either can be listed in order of ids without looking at the others' entries.

    group     last id | entries read | consumers by name
              pending   3-0 5-0 7-0 9-0
    consumer  alice     3-0     7-0          the ids of all consumers together
              bob           5-0     9-0      are the ids of the group

Ids arrive in ascending order and leave in any order. A `PendingList` is therefore a dictionary and
the list of its ids, in which ids that left stay until they are the greater part.

Invariants: `order` ascends and holds every id of `entries`; a pending entry names a consumer of its
group, whose list holds it; `entries_read` is UNKNOWN where the number cannot be told.

Source: https://redis.io/docs/latest/develop/data-types/streams/#consumer-groups.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from sys import getsizeof
from typing import Any

from cache_server.datatypes.sampling import bytes_memory

#: `entries_read` of a group that began, or was set, somewhere in the middle.
UNKNOWN = -1

#: So many ids that left may stay in a list, however short it is.
_GONE_MAX = 64

#: A `Pending`, its id as an integer and its slot in a dictionary and a list, in bytes.
_PENDING_BYTES = 56 + 48 + 100 + 16


class Pending:
    """A delivery: to which consumer, when (Unix ms) last, and how often."""

    def __init__(self, consumer: bytes, delivered_ms: int, deliveries: int) -> None:
        self.consumer = consumer
        self.delivered_ms = delivered_ms
        self.deliveries = deliveries


class PendingList:
    """Pending entries by id (`ms << 64 | sequence`)."""

    def __init__(self) -> None:
        self.entries: dict[int, Pending] = {}
        self.order: list[int] = []

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry_id: int, pending: Pending) -> None:
        """Adds an entry, or puts another in its place."""
        order = self.order
        if not order or entry_id > order[len(order) - 1]:
            order.append(entry_id)
        elif entry_id not in self.entries:
            place = bisect_left(order, entry_id)
            if order[place] != entry_id:
                order.insert(place, entry_id)
        self.entries[entry_id] = pending

    def remove(self, entry_id: int) -> None:
        """Takes out an entry that is there."""
        entries = self.entries
        del entries[entry_id]
        if len(self.order) > 2 * len(entries) + _GONE_MAX:
            self.order = [one for one in self.order if one in entries]

    def items(self, low: int = 0) -> Iterator[tuple[int, Pending]]:
        """(id, pending) from the id `low` up. What was yielded may be removed meanwhile."""
        order = self.order
        for place in range(bisect_left(order, low), len(order)):
            pending = self.entries.get(order[place])
            if pending is not None:
                yield order[place], pending

    @property
    def first_id(self) -> int:
        """The lowest id, 0 where there is none."""
        for entry_id in self.order:
            if entry_id in self.entries:
                return entry_id
        return 0

    @property
    def last_id(self) -> int:
        """The highest id, 0 where there is none."""
        for entry_id in reversed(self.order):
            if entry_id in self.entries:
                return entry_id
        return 0


class Consumer:
    """Who reads in a group; `seen_ms` is when it last asked for something."""

    def __init__(self, seen_ms: int) -> None:
        self.seen_ms = seen_ms
        self.pending = PendingList()


class Group:
    """A consumer group; `entries_read` counts the stream's entries up to `last_id`, ever added."""

    def __init__(self, last_id: int, entries_read: int = UNKNOWN) -> None:
        self.last_id = last_id
        self.entries_read = entries_read
        self.pending = PendingList()
        self.consumers: dict[bytes, Consumer] = {}

    def assign(self, entry_id: int, name: bytes, delivered_ms: int) -> Pending:
        """Makes the consumer `name` the owner of an entry; returns the entry.

        One that was not pending has one delivery; of another only owner and time change."""
        pending = self.pending.entries.get(entry_id)
        consumer = self.consumers[name]
        if pending is None:
            pending = Pending(name, delivered_ms, 1)
            self.pending.add(entry_id, pending)
            consumer.pending.add(entry_id, pending)
            return pending
        pending.delivered_ms = delivered_ms
        if pending.consumer != name:
            owner = self.consumers[pending.consumer]
            owner.pending.remove(entry_id)
            pending.consumer = name
            consumer.pending.add(entry_id, pending)
        return pending

    def acknowledge(self, entry_id: int) -> bool:
        """The entry is not pending any more; False where it was not."""
        pending = self.pending.entries.get(entry_id)
        if pending is None:
            return False
        self.pending.remove(entry_id)
        consumer: Consumer = self.consumers[pending.consumer]
        consumer.pending.remove(entry_id)
        return True

    def drop_consumer(self, name: bytes) -> int:
        """Forgets a consumer and what it has pending; returns how much that was."""
        consumer = self.consumers.pop(name)
        for entry_id in consumer.pending.entries:
            self.pending.remove(entry_id)
        return len(consumer.pending)

    def lag(self, stream: Any) -> int | None:
        """How many entries of `stream` it has not read; None where deletions hide that."""
        if not stream.entries_added:
            return 0
        read = self.entries_read
        if read == UNKNOWN or self.last_id <= stream.deleted_ahead():
            read = stream.entries_up_to(self.last_id)
        return None if read == UNKNOWN else int(stream.entries_added - read)

    def copy(self) -> Group:
        """The same with entries of its own."""
        twin = Group(self.last_id, self.entries_read)
        for name, consumer in self.consumers.items():
            twin.consumers[name] = Consumer(consumer.seen_ms)
        for entry_id, held in self.pending.items():
            pending = twin.assign(entry_id, held.consumer, held.delivered_ms)
            pending.deliveries = held.deliveries
        return twin

    def memory_bytes(self) -> int:
        """An estimate, in bytes."""
        total = getsizeof(self) + 2 * _PENDING_BYTES * len(self.pending)
        for name, consumer in self.consumers.items():
            total += bytes_memory(name) + getsizeof(consumer)
        return total
