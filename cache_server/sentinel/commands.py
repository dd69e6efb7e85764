"""The commands of a sentinel: SENTINEL and its subcommands, ROLE, PUBLISH, SHUTDOWN.

What only reads is answered from the machine's view; what changes something is an event for the
machine, and its reply is the answer. Source: the Sentinel pages and `COMMAND INFO` of redis 7.0.
"""

from __future__ import annotations

from typing import Any

from cache_server.client import STOP_BLOCKED
from cache_server.commands import connection
from cache_server.commands.table import EXTENSION, Command, Handler, container_only
from cache_server.coordination.link import is_ip
from cache_server.errors import CommandError
from cache_server.sentinel import options, reports
from cache_server.sentinel.front import SIMULATIONS, Sentinel
from cache_server.sentinel.settings import MasterOptions, is_name
from cache_server.structures import glob
from cache_server.wire.replies import NO_REPLY, NULL_ARRAY, OK, Map, Status
from replication.failover.cluster_view import Address, MasterConfig, MasterView
from replication.failover.events import (
    DownQuestionAsked,
    ExplainAsked,
    FailoverAsked,
    FlushAsked,
    HelloReceived,
    MonitorAsked,
    RegisterAsked,
    RemoveAsked,
    ResetAsked,
    RespValue,
    TimingsChanged,
    WireError,
)
from replication.failover.messages import HELLO_CHANNEL


def front(ctx: Any) -> Sentinel:
    """The sentinel that answers."""
    sentinel: Sentinel = ctx.server.sentinel
    return sentinel


def text(word: bytes) -> str:
    """An argument as the machine's strings are."""
    return word.decode("utf-8", "surrogateescape")


def _reply(value: RespValue) -> Any:
    """A machine's answer as a handler returns it."""
    if isinstance(value, WireError):
        return CommandError(value.text)
    if value == b"OK":
        return OK
    if isinstance(value, tuple):
        return [_reply(one) for one in value]
    return value


def ask(ctx: Any, event: Any, then: Any = None) -> Any:
    """Asks the machine; the client waits where the answer comes later.

    `then(reply)` may replace the reply (a change has to be written to the configuration file too).
    """
    answered: list[Any] = []
    waiting = False

    def answer(value: RespValue) -> None:
        reply = _reply(value)
        if then is not None and not isinstance(reply, CommandError):
            reply = then(reply)
        if not waiting:
            answered.append(reply)
            return
        ctx.channel.stop &= ~STOP_BLOCKED
        ctx.push(reply)
        ctx.connection.resume()

    front(ctx).driver.ask(event, answer)
    if answered:
        if isinstance(answered[0], CommandError):
            raise answered[0]
        return answered[0]
    waiting = True
    ctx.channel.stop |= STOP_BLOCKED
    return NO_REPLY


def known_master(ctx: Any, name: bytes) -> MasterView:
    """The master of that name. Raises CommandError."""
    master = front(ctx).master(name)
    if master is None:
        raise CommandError("ERR No such master with that name")
    return master


def saved(ctx: Any, _reply: Any = None) -> Any:
    """OK once the configuration file holds the change. Raises nothing: the error is the reply."""
    if front(ctx).save_config():
        return OK
    return CommandError("ERR Failed to save config file. Check server logs.")


# -- what is known --------------------------------------------------------------------------------


def masters_command(ctx: Any, args: list[bytes]) -> Any:
    show = front(ctx).shown_host
    return [reports.instance(one.node, show, one) for one in front(ctx).view().masters]


def master_command(ctx: Any, args: list[bytes]) -> Any:
    master = known_master(ctx, args[2])
    return reports.instance(master.node, front(ctx).shown_host, master)


def replicas_command(ctx: Any, args: list[bytes]) -> Any:
    replicas = known_master(ctx, args[2]).replicas
    show = front(ctx).shown_host
    return [reports.instance(one, show) for one in replicas if one.replica_announced]


def sentinels_command(ctx: Any, args: list[bytes]) -> Any:
    show = front(ctx).shown_host
    return [reports.instance(one, show) for one in known_master(ctx, args[2]).sentinels]


def get_master_addr_command(ctx: Any, args: list[bytes]) -> Any:
    master = front(ctx).master(args[2])
    if master is None:
        return NULL_ARRAY
    host = front(ctx).shown_host(master.advertised.host)
    return [host.encode("utf-8", "surrogateescape"), b"%d" % master.advertised.port]


def myid_command(ctx: Any, args: list[bytes]) -> Any:
    return front(ctx).state.sentinel_id.encode()


def ckquorum_command(ctx: Any, args: list[bytes]) -> Any:
    master = known_master(ctx, args[2])
    usable, problem = master.reachable_sentinels, reports.quorum_problem(master)
    if problem:
        raise CommandError(f"NOQUORUM {usable} usable Sentinels. {problem}")
    return Status(
        b"OK %d usable Sentinels. Quorum and failover authorization can be reached" % usable
    )


def info_cache_command(ctx: Any, args: list[bytes]) -> Any:
    wanted = {text(name) for name in args[2:]}
    reply = Map()
    for master in front(ctx).view().masters:
        if master.config.name in wanted:
            nodes = (master.node, *master.replicas)
            infos = [[max(0, one.info_refresh_ms), one.info.encode() or None] for one in nodes]
            reply += [master.config.name.encode(), infos]
    return reply


def pending_scripts_command(ctx: Any, args: list[bytes]) -> Any:
    return [Map(row) for row in front(ctx).scripts.pending()]


# -- between sentinels ----------------------------------------------------------------------------


def is_master_down_command(ctx: Any, args: list[bytes]) -> Any:
    return ask(ctx, lambda number: DownQuestionAsked(number, tuple(args[2:])))


def register_command(ctx: Any, args: list[bytes]) -> Any:
    return ask(ctx, lambda number: RegisterAsked(number, tuple(args[2:])))


def publish_command(ctx: Any, args: list[bytes]) -> Any:
    """PUBLISH takes hellos only, and only from other sentinels."""
    if args[1] != HELLO_CHANNEL:
        raise CommandError("ERR Only HELLO messages are accepted by Sentinel instances.")
    front(ctx).driver.receive(HelloReceived(None, args[2]))
    return 1


# -- for people -----------------------------------------------------------------------------------


def failover_command(ctx: Any, args: list[bytes]) -> Any:
    """SENTINEL FAILOVER name [FORCE-NEW-HISTORY]"""
    forced = len(args) == 4 and args[3].upper() == b"FORCE-NEW-HISTORY"
    if len(args) > 3 and not forced:
        raise CommandError("ERR wrong number of arguments for 'sentinel|failover' command")
    return ask(ctx, lambda number: FailoverAsked(number, text(args[2]), forced))


def explain_command(ctx: Any, args: list[bytes]) -> Any:
    return ask(ctx, lambda number: ExplainAsked(number, text(args[2])))


def history_command(ctx: Any, args: list[bytes]) -> Any:
    """SENTINEL HISTORY [count]"""
    count = _number(args[2], "value is not an integer or out of range") if len(args) > 2 else 100
    return [line.encode() for line in front(ctx).recorder.last(max(0, count))]


def monitor_command(ctx: Any, args: list[bytes]) -> Any:
    sentinel, name, host = front(ctx), text(args[2]), text(args[3])
    quorum = _number(args[5], "Invalid quorum")
    port = _number(args[4], "Invalid port")
    if quorum <= 0:
        raise CommandError("ERR Quorum must be 1 or greater.")
    if not (is_ip(host) or (sentinel.settings.resolve_hostnames and is_name(host))):
        raise CommandError("ERR Invalid IP address or hostname specified")
    if not 0 < port < 65536:
        raise CommandError("ERR Invalid port number.")
    if not is_name(name):
        raise CommandError("ERR Invalid master name: no spaces, commas or control characters.")
    if sentinel.master(args[2]) is not None:
        raise CommandError("ERR Duplicate master name.")
    timings = sentinel.timings
    config = MasterConfig(
        name,
        Address(host, port),
        quorum,
        down_after_ms=timings.default_down_after_ms,
        failover_timeout_ms=timings.default_failover_timeout_ms,
    )

    def then(_reply: Any) -> Any:
        sentinel.settings.options[name] = MasterOptions()
        return saved(ctx)

    return ask(ctx, lambda number: MonitorAsked(number, config), then)


def _number(word: bytes, refusal: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise CommandError(f"ERR {refusal}") from None


def remove_command(ctx: Any, args: list[bytes]) -> Any:
    def then(_reply: Any) -> Any:
        front(ctx).forget(text(args[2]))
        return saved(ctx)

    return ask(ctx, lambda number: RemoveAsked(number, text(args[2])), then)


def reset_command(ctx: Any, args: list[bytes]) -> Any:
    names = [one.config.name for one in front(ctx).view().masters]
    matched = tuple(name for name in names if glob.match(args[2], name.encode(), nocase=False))
    return ask(ctx, lambda number: ResetAsked(number, matched))


def flushconfig_command(ctx: Any, args: list[bytes]) -> Any:
    return ask(ctx, FlushAsked, lambda reply: saved(ctx, reply))


def set_command(ctx: Any, args: list[bytes]) -> Any:
    master = known_master(ctx, args[2])
    changes = options.MasterChanges(front(ctx), master)
    refusal = changes.take([text(word) for word in args[3:]])
    if not changes.count:
        raise refusal or CommandError("ERR syntax error")

    def then(_reply: Any) -> Any:
        reply = saved(ctx)
        return reply if refusal is None else refusal

    return ask(ctx, changes.event, then)


def config_command(ctx: Any, args: list[bytes]) -> Any:
    word = args[2].lower()
    if word == b"get" and len(args) == 4:
        return Map(options.shown(front(ctx).settings, args[3]))
    if word == b"set" and len(args) == 5:
        options.change(front(ctx), text(args[3]), text(args[4]))
        return saved(ctx)
    raise CommandError(
        "ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported."
    )


def debug_command(ctx: Any, args: list[bytes]) -> Any:
    sentinel = front(ctx)
    if len(args) == 2:
        return Map(options.shown_timings(sentinel))
    timings = options.changed_timings(sentinel, [text(word) for word in args[2:]])
    sentinel.timings = timings
    return ask(ctx, lambda number: TimingsChanged(number, timings))


def simulate_failure_command(ctx: Any, args: list[bytes]) -> Any:
    sentinel, flags = front(ctx), 0
    for word in args[2:]:
        name = text(word).lower()
        if name == "help":
            return [one.encode() for one in SIMULATIONS]
        if name not in SIMULATIONS:
            raise CommandError("ERR Unknown failure simulation specified")
        flags |= SIMULATIONS[name][0]
    sentinel.simulations = flags
    return OK


def help_command(ctx: Any, args: list[bytes]) -> Any:
    return [Status(line.encode()) for line in HELP.splitlines()]


def hello_command(ctx: Any, args: list[bytes]) -> Any:
    """HELLO [protover [AUTH user password] [SETNAME name]]: a sentinel has a mode, and no role."""
    reply = connection.hello_command(ctx, args)
    shown = dict(zip(reply[::2], reply[1::2], strict=True))
    shown[b"mode"] = b"sentinel"
    del shown[b"role"]
    return Map([word for pair in shown.items() for word in pair])


def role_command(ctx: Any, args: list[bytes]) -> Any:
    return [b"sentinel", [one.config.name.encode() for one in front(ctx).view().masters]]


def shutdown_command(ctx: Any, args: list[bytes]) -> Any:
    """SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE]: there is no data to save."""
    if any(word.upper() not in (b"NOSAVE", b"SAVE", b"NOW", b"FORCE") for word in args[1:]):
        raise CommandError("ERR syntax error")
    ctx.server.finish(0)
    return NO_REPLY


HELP = """\
SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
CKQUORUM <master-name>
    Check if the current Sentinel configuration is able to reach the quorum
    needed to failover a master and the majority needed to authorize the
    failover.
CONFIG SET <param> <value>
    Set a global Sentinel configuration parameter.
CONFIG GET <param>
    Get global Sentinel configuration parameter.
DEBUG [<param> <value> ...]
    Show a list of configurable time parameters and their values (milliseconds).
    Or update current configurable parameters values (one or more).
GET-MASTER-ADDR-BY-NAME <master-name>
    Return the ip and port number of the master with that name.
EXPLAIN <master-name>
    Tell why a failover happens or does not: detection, votes, candidates, loss.
FAILOVER <master-name>
    Manually failover a master node without asking for agreement from other
    Sentinels
FLUSHCONFIG
    Force Sentinel to rewrite its configuration on disk, including the current
    Sentinel state.
HISTORY [<count>]
    Show the recorded role changes, oldest first; they survive restarts.
INFO-CACHE <master-name>
    Return last cached INFO output from masters and all its replicas.
IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>
    Check if the master specified by ip:port is down from current Sentinel's
    point of view.
MASTER <master-name>
    Show the state and info of the specified master.
MASTERS
    Show a list of monitored masters and their state.
MONITOR <name> <ip> <port> <quorum>
    Start monitoring a new master with the specified name, ip, port and quorum.
MYID
    Return the ID of the Sentinel instance.
PENDING-SCRIPTS
    Get pending scripts information.
REGISTER GET <master-name>
    Show the agreed leader of a master as this Sentinel knows it.
REMOVE <master-name>
    Remove master from Sentinel's monitor list.
REPLICAS <master-name>
    Show a list of replicas for this master and their state.
RESET <pattern>
    Reset masters for specific master name matching this pattern.
SENTINELS <master-name>
    Show a list of Sentinel instances for this master and their state.
SET <master-name> <option> <value> [<option> <value> ...]
    Set configuration parameters for certain masters.
SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]
    Simulate a Sentinel crash.
HELP
    Prints this help."""


def _row(name: str, arity: int, handler: Handler, since: str, summary: str) -> Command:
    return Command(name, arity, "admin", handler, group="sentinel", since=since, summary=summary)


def _own(name: str, arity: int, handler: Handler, summary: str) -> Command:
    """What Redis's Sentinel does not have."""
    return Command(name, arity, "admin", handler, group=EXTENSION, since="7.0.0", summary=summary)


_SUBCOMMANDS = [
    _own("explain", 3, explain_command, "Tell why a failover happens or does not"),
    _own("history", -2, history_command, "The recorded role changes, oldest first"),
    _own("register", -4, register_command, "What Sentinels say to each other about the leader"),
    _row("ckquorum", 3, ckquorum_command, "2.8.4", "Check for a Sentinel quorum"),
    _row("config", -3, config_command, "6.2.0", "Configure Sentinel"),
    _row("debug", -2, debug_command, "7.0.0", "List or update the current configurable parameters"),
    _row("failover", -3, failover_command, "2.8.4", "Force a failover"),
    _row("flushconfig", 2, flushconfig_command, "2.8.4", "Rewrite configuration file"),
    _row(
        "get-master-addr-by-name",
        3,
        get_master_addr_command,
        "2.8.4",
        "Get port and address of a master",
    ),
    Command(
        "help",
        2,
        "loading stale",
        help_command,
        group="sentinel",
        since="6.2.0",
        summary="Show helpful text about the different subcommands",
    ),
    _row(
        "info-cache",
        -3,
        info_cache_command,
        "3.2.0",
        "Get cached INFO from the instances in the deployment",
    ),
    _row("is-master-down-by-addr", 6, is_master_down_command, "2.8.4", "Check if a master is down"),
    _row("master", 3, master_command, "2.8.4", "Shows the state of a master"),
    _row("masters", 2, masters_command, "2.8.4", "List the monitored masters"),
    _row("monitor", 6, monitor_command, "2.8.4", "Start monitoring"),
    _row("myid", 2, myid_command, "6.2.0", "Get the Sentinel instance ID"),
    _row(
        "pending-scripts",
        2,
        pending_scripts_command,
        "2.8.4",
        "Get information about pending scripts",
    ),
    _row("remove", 3, remove_command, "2.8.4", "Stop monitoring"),
    _row("replicas", 3, replicas_command, "5.0.0", "List the monitored replicas"),
    _row("reset", 3, reset_command, "2.8.4", "Reset masters by name pattern"),
    _row("sentinels", 3, sentinels_command, "2.8.4", "List the Sentinel instances"),
    _row("set", -5, set_command, "2.8.4", "Change the configuration of a monitored master"),
    _row("simulate-failure", -3, simulate_failure_command, "3.2.0", "Simulate failover scenarios"),
    _row("slaves", 3, replicas_command, "2.8.0", "List the monitored slaves"),
]

COMMANDS = [
    Command(
        "sentinel",
        -2,
        "admin",
        container_only,
        group="sentinel",
        since="2.8.4",
        summary="A container for Sentinel commands",
        complexity="Depends on subcommand.",
        subcommands=_SUBCOMMANDS,
    ),
    Command(
        "hello",
        -1,
        "noscript loading stale fast no_auth allow_busy",
        hello_command,
        group="connection",
        since="6.0.0",
        summary="Handshake with Redis",
    ),
    Command(
        "publish",
        3,
        "pubsub loading stale fast may_replicate",
        publish_command,
        group="pubsub",
        since="2.0.0",
        summary="Post a message to a channel",
        complexity="O(N+M)",
    ),
    Command(
        "role",
        1,
        "noscript loading stale fast",
        role_command,
        group="server",
        since="2.8.12",
        summary="Return the role of the instance in the context of replication",
        categories="admin dangerous",
    ),
    Command(
        "shutdown",
        -1,
        "admin noscript loading stale no_multi allow_busy",
        shutdown_command,
        group="server",
        since="1.0.0",
        summary="Synchronously save the dataset to disk and then shut down the server",
    ),
]
