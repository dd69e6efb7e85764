"""ACL: users and their rules.

Source: https://redis.io/docs/latest/commands/acl/ and its subcommands' pages.
"""

from __future__ import annotations

import secrets
from typing import Any

from cache_server.access.catalogue import CATEGORIES
from cache_server.access.checking import CHANNEL, COMMAND, denial
from cache_server.access.rules import RuleError, Selector, User, has_blanks
from cache_server.access.users import DEFAULT, line
from cache_server.commands.helping import help_row
from cache_server.commands.table import Command, container_only
from cache_server.datatypes.arguments import parse_integer
from cache_server.errors import CommandError
from cache_server.wire.replies import OK, Map, SetReply

GENPASS_BITS = 256
GENPASS_BITS_MAX = 4096
LOG_ENTRIES = 10


def acl_setuser_command(ctx: Any, args: list[bytes]) -> Any:
    """ACL SETUSER username [rule ...]: all rules, or none where one is refused."""
    if has_blanks(args[2]):
        raise CommandError(b"ERR Usernames can't contain spaces or null characters")
    try:
        ctx.server.access.set_user(args[2], args[3:], ctx)
    except RuleError as error:
        raise CommandError(f"ERR {error}".encode("latin-1")) from None
    return OK


def acl_deluser_command(ctx: Any, args: list[bytes]) -> int:
    """ACL DELUSER username [username ...]"""
    if DEFAULT in args[2:]:
        raise CommandError(b"ERR The 'default' user cannot be removed")
    return sum(ctx.server.access.delete_user(name, ctx) for name in args[2:])


def acl_getuser_command(ctx: Any, args: list[bytes]) -> Any:
    """ACL GETUSER username"""
    user: User | None = ctx.server.access.users.find(args[2])
    if user is None:
        return None
    shown: list[Any] = [b"flags", SetReply(user.flags()), b"passwords", list(user.passwords)]
    shown += _described(user.selectors[0])
    others = [Map(_described(selector)) for selector in user.selectors[1:]]
    return Map([*shown, b"selectors", others])


def _described(selector: Selector) -> list[bytes]:
    return [
        *(b"commands", b" ".join(selector.command_words())),
        *(b"keys", b" ".join(selector.key_words())),
        *(b"channels", b" ".join(selector.channel_words())),
    ]


def acl_list_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """ACL LIST"""
    return [line(user) for user in ctx.server.access.users.sorted()]


def acl_users_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """ACL USERS"""
    return [user.name for user in ctx.server.access.users.sorted()]


def acl_whoami_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """ACL WHOAMI"""
    return None if ctx.user is None else ctx.user.name


def acl_load_command(ctx: Any, args: list[bytes]) -> Any:
    """ACL LOAD"""
    ctx.server.access.load(ctx)
    return OK


def acl_save_command(ctx: Any, args: list[bytes]) -> Any:
    """ACL SAVE"""
    ctx.server.access.save()
    return OK


def acl_cat_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """ACL CAT [category]"""
    if len(args) > 3:
        raise _wrong_number(args[1])
    if len(args) == 2:
        return [name.encode() for name in CATEGORIES]
    try:
        rows = ctx.server.access.catalogue.category_of(args[2])
    except KeyError:
        raise CommandError(b"ERR Unknown category '%b'" % args[2][:128]) from None
    return [row.full_name.encode() for row in rows]


def acl_genpass_command(ctx: Any, args: list[bytes]) -> bytes:
    """ACL GENPASS [bits]"""
    if len(args) > 3:
        raise _wrong_number(args[1])
    bits = parse_integer(args[2]) if len(args) == 3 else GENPASS_BITS
    if not 0 < bits <= GENPASS_BITS_MAX:
        raise CommandError(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a "
            f"positive number up to {GENPASS_BITS_MAX}"
        )
    digits = (bits + 3) // 4
    return secrets.token_hex(digits)[:digits].encode()


def acl_log_command(ctx: Any, args: list[bytes]) -> Any:
    """ACL LOG [count | RESET]"""
    if len(args) > 3:
        raise _wrong_number(args[1])
    log = ctx.server.access.log
    if len(args) == 3 and args[2].lower() == b"reset":
        log.reset()
        return OK
    count = parse_integer(args[2]) if len(args) == 3 else LOG_ENTRIES
    now_ms = ctx.server.now_ms()
    return [entry.reply(now_ms) for entry in log.entries[: max(0, count)]]


def acl_dryrun_command(ctx: Any, args: list[bytes]) -> Any:
    """ACL DRYRUN username command [arg ...]: OK, or in words what forbids it."""
    access, request = ctx.server.access, args[3:]
    user = access.users.find(args[2])
    if user is None:
        raise CommandError(b"ERR User '%b' not found" % args[2])
    row = ctx.server.dispatcher.commands.get(request[0].lower())
    if row is not None and row.subcommands and len(request) > 1:
        row = row.subcommands.get(request[1].lower())
    if row is None:
        raise CommandError(b"ERR Command '%b' not found" % request[0])
    if not row.accepts(len(request)):
        raise CommandError(f"ERR wrong number of arguments for '{row.full_name}' command")
    found = denial(user, row, request)
    if found is None:
        return OK
    if found.reason == COMMAND:
        text = f"This user has no permissions to run the '{row.full_name}' command"
        return text.encode()
    kind = b"channel" if found.reason == CHANNEL else b"key"
    named = request[found.position]
    return b"This user has no permissions to access the '%b' %b" % (named, kind)


def _wrong_number(word: bytes) -> CommandError:
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try ACL HELP." % word[:128]
    )


_ADMIN = "admin noscript loading stale"
_OPEN = "noscript loading stale"


def _row(
    name: str, arity: int, flags: str, handler: Any, since: str, summary: str, complexity: str
) -> Command:
    return Command(
        name,
        arity,
        flags,
        handler,
        group="server",
        since=since,
        summary=summary,
        complexity=complexity,
    )


_RULES = "O(N). Where N is the number of rules provided."
_USERS = "O(N). Where N is the number of configured users."
_ROWS = [
    _row(
        "cat",
        -2,
        _OPEN,
        acl_cat_command,
        "6.0.0",
        "List the ACL categories or the commands inside a category",
        "O(1) since the categories and commands are a fixed set.",
    ),
    _row(
        "deluser",
        -3,
        _ADMIN,
        acl_deluser_command,
        "6.0.0",
        "Remove the specified ACL users and the associated rules",
        "O(1) amortized time considering the typical user.",
    ),
    _row(
        "dryrun",
        -4,
        _ADMIN,
        acl_dryrun_command,
        "7.0.0",
        "Returns whether the user can execute the given command without executing the command.",
        "O(1).",
    ),
    _row(
        "genpass",
        -2,
        _OPEN,
        acl_genpass_command,
        "6.0.0",
        "Generate a pseudorandom secure password to use for ACL users",
        "O(1)",
    ),
    _row(
        "getuser",
        3,
        _ADMIN,
        acl_getuser_command,
        "6.0.0",
        "Get the rules for a specific ACL user",
        "O(N). Where N is the number of password, command and pattern rules that the user has.",
    ),
    _row(
        "list",
        2,
        _ADMIN,
        acl_list_command,
        "6.0.0",
        "List the current ACL rules in ACL config file format",
        _USERS,
    ),
    _row(
        "load",
        2,
        _ADMIN,
        acl_load_command,
        "6.0.0",
        "Reload the ACLs from the configured ACL file",
        _USERS,
    ),
    _row(
        "log",
        -2,
        _ADMIN,
        acl_log_command,
        "6.0.0",
        "List latest events denied because of ACLs in place",
        "O(N) with N being the number of entries shown.",
    ),
    _row(
        "save",
        2,
        _ADMIN,
        acl_save_command,
        "6.0.0",
        "Save the current ACL rules in the configured ACL file",
        _USERS,
    ),
    _row(
        "setuser",
        -3,
        _ADMIN,
        acl_setuser_command,
        "6.0.0",
        "Modify or create the rules for a specific ACL user",
        _RULES,
    ),
    _row(
        "users",
        2,
        _ADMIN,
        acl_users_command,
        "6.0.0",
        "List the username of all the configured ACL rules",
        _USERS,
    ),
    _row(
        "whoami",
        2,
        _OPEN,
        acl_whoami_command,
        "6.0.0",
        "Return the name of the user associated to the current connection",
        "O(1)",
    ),
    help_row(
        "ACL",
        "CAT [<category>]",
        "    Return the categories, or the commands in one of them.",
        "DELUSER <username> [<username> ...]",
        "    Delete users and close their connections.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Tell whether a user may run a command, without running it.",
        "GENPASS [<bits>]",
        "    Return a random password of so many bits (default: 256).",
        "GETUSER <username>",
        "    Return what a user is allowed to do.",
        "LIST",
        "    Return all users as lines of a configuration file.",
        "LOAD",
        "    Read the users from the ACL file.",
        "LOG [<count> | RESET]",
        "    Return what was refused, or forget it.",
        "SAVE",
        "    Write the users to the ACL file.",
        "SETUSER <username> <rule> [<rule> ...]",
        "    Change a user by rules; create it where there is none.",
        "USERS",
        "    Return the names of all users.",
        "WHOAMI",
        "    Return the name of the current connection's user.",
        group="server",
        since="6.0.0",
    ),
]

COMMANDS = [
    Command(
        "acl",
        -2,
        "",
        container_only,
        group="server",
        since="6.0.0",
        summary="A container for Access List Control commands ",
        complexity="Depends on subcommand.",
        subcommands=_ROWS,
    )
]
