"""HyperLogLog commands: PFADD, PFCOUNT, PFMERGE and the tools to look inside.

A HyperLogLog is a string (see `structures/hyperloglog`); from its first change on it is held as a
bytearray and changed in place. PFCOUNT of one key keeps the count it found in the value: a change
that travels, though to clients PFCOUNT only reads.

Source: https://redis.io/docs/latest/commands/?group=hyperloglog.
"""

from __future__ import annotations

from random import Random
from typing import Any

from cache_server.commands.table import Command
from cache_server.errors import CommandError
from cache_server.keyspace.database import NOTIFY_STRING
from cache_server.structures import hyperloglog as registers
from cache_server.structures.hyperloglog import CorruptedError, has_header, is_dense
from cache_server.structures.hyperloglog import add as add_element
from cache_server.structures.hyperloglog import invalidate as forget_count
from cache_server.wire.replies import OK, Status

_NO_HYPERLOGLOG = b"WRONGTYPE Key is not a valid HyperLogLog string value."
_CORRUPTED = b"INVALIDOBJ Corrupted HLL object detected"
_WRONG_TYPE = b"WRONGTYPE Operation against a key holding the wrong kind of value"

#: What the self-test goes through: rounds of random registers, elements added.
_TEST_ROUNDS = 4
_TEST_ELEMENTS = 100_000


def _checked(value: Any) -> bytearray:
    """A HyperLogLog to be read. Raises WRONGTYPE."""
    kind = type(value)
    if kind is not bytes and kind is not bytearray:
        raise CommandError(_NO_HYPERLOGLOG if kind is int else _WRONG_TYPE)
    if not has_header(value):
        raise CommandError(_NO_HYPERLOGLOG)
    return value if kind is bytearray else bytearray(value)


def _opened(db: Any, key: bytes, value: Any) -> bytearray:
    """The value in the form that is changed in place; `db.write` gave it. Raises WRONGTYPE."""
    data = _checked(value)
    if data is not value:
        db.put(key, data, True)
    return data


def pfadd_command(ctx: Any, args: list[bytes]) -> int:
    """PFADD key [element ...]: whether the estimate may have changed."""
    db = ctx.db
    key = args[1]
    value = db.write(key)
    updated = 0
    if value is None:
        data = registers.new()
        db.put(key, data)
        updated = 1
    else:
        data = _opened(db, key, value)
    bytes_max = 0 if is_dense(data) else ctx.config.hll_sparse_max_bytes
    try:
        for index in range(2, len(args)):
            updated += add_element(data, args[index], bytes_max)
    except CorruptedError:
        raise CommandError(_CORRUPTED) from None
    if not updated:
        return 0
    forget_count(data)
    db.changed(key, NOTIFY_STRING, b"pfadd", updated)
    return 1


def pfcount_command(ctx: Any, args: list[bytes]) -> int:
    """PFCOUNT key [key ...]: the estimate of the union of all."""
    try:
        count = _count_one(ctx.db, args[1]) if len(args) == 2 else _count_union(ctx.db, args[1:])
    except CorruptedError:
        raise CommandError(_CORRUPTED) from None
    return count if count < 2**63 else count - 2**64


def _count_one(db: Any, key: bytes) -> int:
    value = db.read(key)
    if value is None:
        return 0
    count: int = registers.cached_count(_checked(value))
    if count < 0:
        data = _opened(db, key, db.write(key))
        count = registers.count(data)
        registers.cache_count(data, count)
        db.keyspace.dirty += 1
        db.touched(key)
    return count


def _count_union(db: Any, keys: list[bytes]) -> int:
    union = bytearray(registers.REGISTERS)
    for key in keys:
        value = db.read(key)
        if value is not None:
            registers.merge(union, _checked(value))
    return registers.count_registers(union)


def pfmerge_command(ctx: Any, args: list[bytes]) -> Any:
    """PFMERGE destination [key ...]: the destination becomes the union with what it holds."""
    db, target = ctx.db, args[1]
    union = bytearray(registers.REGISTERS)
    dense = False
    try:
        for key in args[1:]:
            value = db.read(key)
            if value is not None:
                data = _checked(value)
                dense = dense or data[4] == registers.DENSE
                registers.merge(union, data)
    except CorruptedError:
        raise CommandError(_CORRUPTED) from None
    value = db.write(target)
    if value is None:
        data = registers.new()
        db.put(target, data)
    else:
        data = _opened(db, target, value)
    if dense:
        registers.to_dense(data)
    registers.raise_all(data, union, ctx.config.hll_sparse_max_bytes)
    forget_count(data)
    db.changed(target, NOTIFY_STRING, b"pfadd")
    return OK


def pfdebug_command(ctx: Any, args: list[bytes]) -> Any:
    """PFDEBUG GETREG | DECODE | ENCODING | TODENSE key: the first and the last make it dense."""
    db, word, key = ctx.db, args[1].lower(), args[2]
    value = db.write(key)
    if value is None:
        raise CommandError(b"ERR The specified key does not exist")
    data = _opened(db, key, value)
    sparse = data[4] == registers.SPARSE
    if word == b"encoding":
        return Status(b"sparse" if sparse else b"dense")
    if word == b"decode":
        if not sparse:
            raise CommandError(b"ERR HLL encoding is not sparse")
        return registers.opcodes(data)
    if word not in (b"getreg", b"todense"):
        raise CommandError(b"ERR Unknown PFDEBUG subcommand '%b'" % args[1])
    try:
        registers.to_dense(data)
    except CorruptedError:
        raise CommandError(_CORRUPTED) from None
    ctx.keyspace.dirty += sparse
    return int(sparse) if word == b"todense" else registers.register_values(data)


def pfselftest_command(ctx: Any, args: list[bytes]) -> Any:
    """PFSELFTEST: registers keep what they are given, both encodings agree, the error is small.

    Shorter than Redis's test, as nobody is served while it runs."""
    rng = Random(ctx.keyspace.rng.random())
    for _ in range(_TEST_ROUNDS):
        values = bytearray(rng.randrange(64) for _ in range(registers.REGISTERS))
        data = registers.new()
        registers.to_dense(data)
        registers.raise_all(data, values, 0)
        if registers.register_values(data) != list(values):
            raise CommandError(b"TESTFAILED Registers do not hold what they should be")
    _test_estimates(rng, ctx.config.hll_sparse_max_bytes)
    return OK


def _test_estimates(rng: Random, bytes_max: int) -> None:
    dense, sparse = registers.new(), registers.new()
    registers.to_dense(dense)
    seed = rng.getrandbits(64)
    checkpoint = 1
    for number in range(1, _TEST_ELEMENTS + 1):
        element = (number ^ seed).to_bytes(8, "little")
        add_element(dense, element, bytes_max)
        add_element(sparse, element, bytes_max)
        if number != checkpoint:
            continue
        if number < bytes_max // 2 and sparse[4] != registers.SPARSE:
            raise CommandError(b"TESTFAILED sparse encoding not used")
        count = registers.count(dense)
        if count != registers.count(sparse):
            raise CommandError(b"TESTFAILED dense/sparse disagree")
        error = abs(checkpoint - count)
        if error > max(1, checkpoint * 6 * 104 // 12800):
            raise CommandError(b"TESTFAILED Too big error. card:%d abserr:%d" % (checkpoint, error))
        checkpoint *= 10


# -- rows --------------------------------------------------------------------------------------


def _row(
    name: str,
    arity: int,
    flags: str,
    handler: Any,
    keys: tuple[int, int, int],
    summary: str,
    complexity: str = "N/A",
) -> Command:
    return Command(
        name,
        arity,
        flags,
        handler,
        keys,
        group="hyperloglog",
        since="2.8.9",
        summary=summary,
        complexity=complexity,
    )


COMMANDS = [
    _row("pfadd", -2, "write denyoom fast", pfadd_command, (1, 1, 1),
         "Adds the specified elements to the specified HyperLogLog.",
         "O(1) to add every element."),
    _row("pfcount", -2, "readonly may_replicate", pfcount_command, (1, -1, 1),
         ("Return the approximated cardinality of the set(s) observed by the HyperLogLog at "
          "key(s)."),
         ("O(1) with a very small average constant time when called with a single key. O(N) with N "
          "being the number of keys, and much bigger constant times, when called with multiple "
          "keys.")),
    _row("pfmerge", -2, "write denyoom", pfmerge_command, (1, -1, 1),
         "Merge N different HyperLogLogs into a single one.",
         "O(N) to merge N HyperLogLogs, but with high constant times."),
    _row("pfdebug", 3, "write denyoom admin", pfdebug_command, (2, 2, 1),
         "Internal commands for debugging HyperLogLog values"),
    _row("pfselftest", 1, "admin", pfselftest_command, (0, 0, 0),
         "An internal command for testing HyperLogLog values"),
]  # fmt: skip
