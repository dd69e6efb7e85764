"""What commands do with their keys, in the words of COMMAND INFO's key specifications.

One group a line: flags of the command's key specifications (`|` between them), and the commands
that have them. What is not listed follows from the command's own flags.

Source: https://redis.io/docs/latest/develop/reference/key-specs/, as redis-server 7.0 answers.
"""

from __future__ import annotations

_GROUPS = {
    "RO": "exists hexists hlen hstrlen llen memory|usage object|encoding object|freq "
    "object|idletime object|refcount scard sismember strlen touch type watch xlen zcard",
    "RW update": "expire expireat geoadd hmset hset lset persist pexpire pexpireat setrange "
    "xack xadd xclaim xgroup|setid xsetid zadd",
    "RW access update": "decr decrby getex getset hincrby hincrbyfloat incr incrby incrbyfloat "
    "eval evalsha fcall move setbit zincrby",
    "RW access delete": "blmpop blpop brpop bzmpop bzpopmax bzpopmin getdel lmpop lpop migrate "
    "rpop spop zmpop zpopmax zpopmin",
    "RW delete": "hdel lrem ltrim srem xautoclaim xdel xgroup|delconsumer xgroup|destroy xtrim "
    "zrem zremrangebylex zremrangebyrank zremrangebyscore",
    "RW insert": "append hsetnx linsert lpush lpushx pfadd rpush rpushx sadd xgroup|create "
    "xgroup|createconsumer",
    "OW update|RO access": "bitop geosearchstore sdiffstore sunionstore zdiffstore zinterstore "
    "zrangestore zunionstore",
    "RW access delete|RW insert": "blmove brpoplpush lmove rpoplpush smove",
    "OW update": "mset psetex restore restore-asking setex",
    "not_key": "spublish ssubscribe sunsubscribe",
    "RM delete": "del unlink",
    "OW insert": "msetnx setnx",
    "RW access": "pfcount pfdebug",
    "RW access update variable_flags": "bitfield set",
    "RW access insert|RO access": "pfmerge",
    "RW access delete|OW insert": "renamenx",
    "RW access delete|OW update": "rename",
    "RO access|RO access|OW update": "sort",
    "RO access|RO access": "sort_ro",
    "RW update|RO access": "sinterstore",
    "RO access|OW update": "copy georadius georadiusbymember",
    "RO access": "xreadgroup",
}
_FLAGS = {name: flags for flags, names in _GROUPS.items() for name in names.split()}


def key_flags(full_name: str, writes: bool) -> list[list[str]]:
    """The flags of each key specification of a command."""
    flags = _FLAGS.get(full_name, "RW access update" if writes else "RO access")
    return [group.split() for group in flags.split("|")]


#: Commands whose arguments say what is done with a key.
ARGUMENTS_DECIDE = frozenset(("set", "bitfield"))


def flags_of_key(full_name: str, writes: bool, index: int, args: list[bytes]) -> list[str]:
    """The flags of the key that is the `index`-th of a request's keys."""
    if full_name == "set":
        returns_old = any(arg.lower() == b"get" for arg in args[3:])
        return ["RW", "access", "update"] if returns_old else ["OW", "update"]
    if full_name == "bitfield" and _only_gets(args):
        return ["RO", "access"]
    groups = key_flags(full_name, writes)
    return groups[0 if index == 0 else -1]


def _only_gets(args: list[bytes]) -> bool:
    """Whether a BITFIELD request reads only; one that is no request counts as writing."""
    index = 2
    while index < len(args):
        word, rest = args[index].lower(), len(args) - index - 1
        if word == b"get" and rest >= 2:
            index += 3
        elif word == b"overflow" and rest >= 1:
            index += 2
        else:
            return False
    return True
