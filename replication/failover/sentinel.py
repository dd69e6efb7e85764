"""The sentinel: all monitored masters of one process behind one door.

    receive(event, now_ms)   links, replies, hellos, requests (events.py)
    tick(now_ms)             about every constants.TICK_MS
    take_actions()           what to do, in order (actions.py)
    view(now_ms)             what is known (cluster_view.py)

The machine dials, retries, judges and decides; the shell carries bytes, resolves names, keeps
credentials, answers the commands that only read (from `view`), and makes state durable.
"""

from __future__ import annotations

from dataclasses import replace

from replication.failover import views
from replication.failover.actions import LinkKind, Reply, SentinelAction
from replication.failover.cluster_view import (
    Address,
    ClusterView,
    MasterState,
    SentinelState,
    Timings,
)
from replication.failover.context import Chance, Context
from replication.failover.events import (
    AddressResolved,
    AnnounceChanged,
    CommandReplied,
    DownQuestionAsked,
    ExplainAsked,
    FailoverAsked,
    FlushAsked,
    HelloReceived,
    LinkClosed,
    LinkOpened,
    MonitorAsked,
    ReconfigureAsked,
    RegisterAsked,
    RemoveAsked,
    ResetAsked,
    RespValue,
    SentinelEvent,
    StoreAnswered,
    TimingsChanged,
    WireError,
)
from replication.failover.explaining import explain
from replication.failover.messages import (
    LEASE_KNOCK,
    MessageError,
    integer,
    parse_address,
    parse_hello,
    text,
)
from replication.failover.node import Wires
from replication.failover.watch import Watch

NO_SUCH_MASTER = WireError("ERR No such master with that name")


class SentinelMachine:
    """One sentinel.

    `state` is what the state file held (SentinelState(id) for a new sentinel); `chance` is a seeded
    random.Random; `announce` is the address told to other sentinels. `coordinator` names the
    external store that AskStore reaches; "" where the sentinels hold register and lease themselves.
    """

    def __init__(
        self,
        state: SentinelState,
        announce: Address,
        chance: Chance,
        now_ms: float,
        timings: Timings | None = None,
        coordinator: str = "",
    ) -> None:
        self._context = Context(
            state.sentinel_id, announce, timings or Timings(), chance, coordinator
        )
        self._context.current_epoch = state.current_epoch
        self._context.snapshot = self._state
        self._watches: dict[str, Watch] = {}
        for master in state.masters:
            self._restore(master, now_ms)
        self._handlers = {
            LinkOpened: self._link_opened,
            LinkClosed: self._link_closed,
            CommandReplied: self._replied,
            HelloReceived: self._hello,
            AddressResolved: self._resolved,
            DownQuestionAsked: self._down_question,
            RegisterAsked: self._register,
            FailoverAsked: self._failover,
            ExplainAsked: self._explain,
            MonitorAsked: self._monitor,
            RemoveAsked: self._remove,
            ResetAsked: self._reset,
            ReconfigureAsked: self._reconfigure,
            TimingsChanged: self._timings,
            FlushAsked: self._flush,
            AnnounceChanged: self._announce,
            StoreAnswered: self._store_answered,
        }

    def receive(self, event: SentinelEvent, now_ms: float) -> None:
        """Take in one event."""
        self._handlers[type(event)](event, now_ms)  # type: ignore[operator]
        for watch in self._watches.values():
            watch.progress(now_ms)

    def tick(self, now_ms: float) -> None:
        """Time passed."""
        context = self._context
        context.tick(now_ms)
        doubt = context.doubt.tick(context.timings, now_ms)
        if doubt:
            context.publish(doubt, f"#tilt mode {'entered' if doubt == '+tilt' else 'exited'}")
        for watch in list(self._watches.values()):
            watch.settling.register_tick(now_ms)
            watch.tick(now_ms)

    @property
    def busy(self) -> bool:
        """Whether it wants to be ticked every constants.TICK_BUSY_MS."""
        return any(watch.busy for watch in self._watches.values())

    def take_actions(self) -> list[SentinelAction]:
        """What is to be done, in order."""
        return self._context.take_actions()

    def view(self, now_ms: float) -> ClusterView:
        """What is known now."""
        return views.cluster(self._context, self._watches.values(), now_ms)

    def _state(self) -> SentinelState:
        return SentinelState(
            self._context.sentinel_id,
            self._context.current_epoch,
            tuple(watch.state() for watch in self._watches.values()),
        )

    def _restore(self, master: MasterState, now_ms: float) -> None:
        watch = Watch(self._context, master.config, now_ms, master.address)
        self._watches[master.config.name] = watch
        watch.restore(master, now_ms)
        watch.publish("+monitor", watch.node, f" quorum {master.config.quorum}")

    def _reply(self, request: int, value: RespValue) -> None:
        self._context.emit(Reply(request, value))

    # Links.

    def _link_opened(self, event: LinkOpened, now_ms: float) -> None:
        found = self._context.links.opened(event.link, now_ms)
        if found is None:
            return
        wires, link = found
        for watch in self._watches.values():
            watch.opened(wires, link.kind is not LinkKind.PUBSUB, now_ms)

    def _link_closed(self, event: LinkClosed, now_ms: float) -> None:
        found = self._context.links.owner(event.link)
        if found is not None:
            found[0].note_closed(found[1], event.reason, now_ms)
        self._context.links.closed(event.link)

    def _replied(self, event: CommandReplied, now_ms: float) -> None:
        handler = self._context.links.reply(event.link, event.tag)
        if handler is not None:
            handler(event.reply, now_ms)

    def _hello(self, event: HelloReceived, now_ms: float) -> None:
        if event.link is not None:
            found = self._context.links.owner(event.link)
            if found is None:
                return
            found[1].heard_ms = now_ms
            if event.payload == LEASE_KNOCK:
                self._knocked(found[0], now_ms)
                return
        try:
            hello = parse_hello(event.payload)
        except MessageError:
            return
        watch = self._watches.get(hello.name)
        if watch is not None and hello.sentinel_id != self._context.sentinel_id:
            watch.heard(hello, now_ms)

    def _store_answered(self, event: StoreAnswered, now_ms: float) -> None:
        self._context.store_answered(event.tag, event.outcome, now_ms)

    def _knocked(self, wires: Wires, now_ms: float) -> None:
        """A node asks to be asked about its lease: it has just given it back, or wants it again."""
        for watch in self._watches.values():
            node = watch.lending.leader_node()
            if node is not None and node.wires is wires:
                watch.lending.poll_soon()
                watch.lending.tick(now_ms)

    def _resolved(self, event: AddressResolved, _now_ms: float) -> None:
        self._context.resolved(event.host, event.ip)

    # Requests of other sentinels.

    def _down_question(self, event: DownQuestionAsked, now_ms: float) -> None:
        try:
            if len(event.args) != 4:
                raise MessageError("wrong number of arguments")
            address = parse_address(event.args[0], event.args[1])
            epoch, candidate = integer(event.args[2]), text(event.args[3])
        except MessageError as error:
            self._reply(event.request, WireError(f"ERR {error}"))
            return
        same = self._context.same
        watches = [w for w in self._watches.values() if same(w.node.address, address)]
        down, leader, leader_epoch = 0, b"*", 0
        if watches:
            watch = watches[0]
            down = int(watch.is_down())
            if candidate != "*":
                vote = watch.cast_vote(epoch, candidate, now_ms)
                leader, leader_epoch = vote.sentinel_id.encode() or b"*", vote.epoch
        self._reply(event.request, (down, leader, leader_epoch))

    def _register(self, event: RegisterAsked, now_ms: float) -> None:
        if len(event.args) < 2:
            self._reply(event.request, WireError("ERR wrong number of arguments"))
            return
        watch = self._watches.get(event.args[1].decode("utf-8", "replace"))
        if watch is None:
            self._reply(event.request, NO_SUCH_MASTER)
            return
        known = watch.tenure.register
        answer = watch.tenure.answer(event.args, now_ms)
        self._reply(event.request, answer)
        if watch.tenure.register != known:
            watch.lending.tell_all(now_ms)

    # Requests of people.

    def _failover(self, event: FailoverAsked, now_ms: float) -> None:
        watch = self._watches.get(event.name)
        if watch is None:
            self._reply(event.request, NO_SUCH_MASTER)
        else:
            self._reply(event.request, watch.drive.ask(now_ms, forced=event.forced))

    def _explain(self, event: ExplainAsked, now_ms: float) -> None:
        watch = self._watches.get(event.name)
        if watch is None:
            self._reply(event.request, NO_SUCH_MASTER)
        else:
            lines = explain(watch, now_ms)
            self._reply(event.request, tuple(one.encode() for one in lines))

    def _monitor(self, event: MonitorAsked, now_ms: float) -> None:
        config = event.config
        if config.name in self._watches:
            self._reply(event.request, WireError("ERR Duplicate master name"))
            return
        if config.quorum <= 0:
            self._reply(event.request, WireError("ERR Quorum must be 1 or greater."))
            return
        watch = self._watches[config.name] = Watch(self._context, config, now_ms)
        self._context.changed()
        watch.publish("+monitor", watch.node, f" quorum {config.quorum}")
        self._reply(event.request, b"OK")

    def _remove(self, event: RemoveAsked, _now_ms: float) -> None:
        watch = self._watches.pop(event.name, None)
        if watch is None:
            self._reply(event.request, NO_SUCH_MASTER)
            return
        watch.publish("-monitor", watch.node)
        watch.close()
        self._context.changed()
        self._reply(event.request, b"OK")

    def _reset(self, event: ResetAsked, now_ms: float) -> None:
        found = [self._watches[name] for name in event.names if name in self._watches]
        for watch in found:
            watch.reset(now_ms)
        self._reply(event.request, len(found))

    def _reconfigure(self, event: ReconfigureAsked, _now_ms: float) -> None:
        watch = self._watches.get(event.config.name)
        if watch is None:
            self._reply(event.request, NO_SUCH_MASTER)
            return
        watch.configure(event.config)
        if event.reconnect:
            watch.reconnect()
        self._reply(event.request, b"OK")

    def _timings(self, event: TimingsChanged, _now_ms: float) -> None:
        before = self._context.timings
        self._context.timings = event.timings
        for watch in self._watches.values():
            config = watch.config
            if event.timings.default_down_after_ms != before.default_down_after_ms:
                config = replace(config, down_after_ms=event.timings.default_down_after_ms)
            if event.timings.default_failover_timeout_ms != before.default_failover_timeout_ms:
                timeout_ms = event.timings.default_failover_timeout_ms
                config = replace(config, failover_timeout_ms=timeout_ms)
            watch.configure(config)
        self._reply(event.request, b"OK")

    def _flush(self, event: FlushAsked, _now_ms: float) -> None:
        self._context.changed()
        self._reply(event.request, b"OK")

    def _announce(self, event: AnnounceChanged, _now_ms: float) -> None:
        self._context.announce = event.address
