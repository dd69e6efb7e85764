"""ACL LOG: what was refused, newest first; like events within a minute are one entry.

Source: https://redis.io/docs/latest/commands/acl-log/.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache_server.wire.replies import Map

#: Like events further apart are entries of their own, in ms.
GROUPING_MS_MAX = 60_000
#: So many entries are looked through for one to add to.
_LOOKED_THROUGH = 10


@dataclass(slots=True)
class Entry:
    """One kind of refusal. `reason`: command, key, channel or auth; `context`: toplevel, multi,
    lua."""

    reason: bytes
    context: bytes
    subject: bytes
    user: bytes
    client: bytes
    time_ms: int
    count: int = 1

    def is_like(self, other: Entry) -> bool:
        return (
            self.reason == other.reason
            and self.context == other.context
            and self.subject == other.subject
            and self.user == other.user
            and abs(self.time_ms - other.time_ms) <= GROUPING_MS_MAX
        )

    def reply(self, now_ms: int) -> Map:
        return Map(
            [
                *(b"count", self.count, b"reason", self.reason, b"context", self.context),
                *(b"object", self.subject, b"username", self.user),
                *(b"age-seconds", (now_ms - self.time_ms) / 1000, b"client-info", self.client),
            ]
        )


class DenialLog:
    """At most as many entries as the caller says, newest first."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, entry: Entry, length_max: int) -> None:
        """Adds an event, to an entry that is like it where there is one."""
        for index, known in enumerate(self.entries[:_LOOKED_THROUGH]):
            if known.is_like(entry):
                del self.entries[index]
                entry.count += known.count
                break
        self.entries.insert(0, entry)
        del self.entries[length_max:]

    def reset(self) -> None:
        self.entries.clear()
