"""One monitored master: its nodes, what they report, who is down, and what is mended.

This is the monitoring half of a sentinel. It dials, pings, asks for INFO, publishes and hears
hellos, polls the leader's lease, judges who is down, and corrects roles. A change of leader is
driven by `drive.Drive`, which this object owns; the register and the lease promise are in
`tenure.Tenure`.

Invariants: the master's address is never among the followers; every follower and sentinel is known
once; in TILT nothing is judged, promoted or mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from replication.failover import constants, election
from replication.failover.actions import LeaderMoved, LinkKind
from replication.failover.cluster_view import (
    Address,
    KnownSentinel,
    MasterConfig,
    MasterState,
)
from replication.failover.context import Context
from replication.failover.detector import Signs, subjectively_down
from replication.failover.drive import Drive
from replication.failover.events import RespValue, WireError
from replication.failover.info import InfoReport, parse_info
from replication.failover.lending import Lending
from replication.failover.messages import (
    HELLO_CHANNEL,
    VALUE_FIELDS,
    Hello,
    MessageError,
    encode_hello,
    parse_value,
)
from replication.failover.node import LinkStatus, Node, Wires
from replication.failover.promotion import State
from replication.failover.settling import Settling
from replication.failover.stored_tenure import StoredTenure
from replication.failover.tenure import Tenure


class Watch:
    """A sentinel's picture of one master and what it does about it."""

    def __init__(
        self, context: Context, config: MasterConfig, now_ms: float, address: Address | None = None
    ) -> None:
        self.context = context
        self.config = config
        self.config_epoch = 0
        self.vote = election.Vote()
        self.replicas: dict[Address, Node] = {}
        self.sentinels: dict[str, Node] = {}
        self.node = self._data_node("master", address or config.address, now_ms)
        kind = StoredTenure if context.coordinator else Tenure
        self.tenure = kind(
            context, config.name, self.sentinels.values, lambda: self.members_count, now_ms
        )
        self.drive = Drive(self)
        self.lending = Lending(self)
        self.settling = Settling(self, now_ms)

    # What others ask.

    @property
    def members_count(self) -> int:
        """N: of so many sentinels a majority is needed, for leases and for the register alike."""
        configured = self.config.members or 2 * self.config.quorum - 1
        return max(configured, len(self.sentinels) + 1)

    @property
    def rank(self) -> int:
        """How many reachable sentinels go before us, by id: who is to act first."""
        mine = self.context.sentinel_id
        return sum(
            1 for key, peer in self.sentinels.items() if key < mine and "s_down" not in peer.flags
        )

    @property
    def advertised(self) -> Address:
        """The address clients are told: the promoted follower's once it leads."""
        drive = self.drive
        if drive.promoted is not None and drive.state in (
            State.RECONF_SLAVES,
            State.UPDATE_CONFIG,
        ):
            return drive.promoted.address
        return self.node.address

    def nodes(self) -> Iterator[Node]:
        """Master, followers, sentinels."""
        yield self.node
        yield from self.replicas.values()
        yield from self.sentinels.values()

    def state(self) -> MasterState:
        """What must survive a restart."""
        tenure, address = self.tenure, self.advertised
        others = (one for one in (self.node.address, *self.replicas) if one != address)
        return MasterState(
            config=self.config,
            address=address,
            config_epoch=self.config_epoch,
            vote_epoch=self.vote.epoch,
            voted_for=self.vote.sentinel_id,
            acceptor=tenure.acceptor,
            register=tenure.register,
            replicas=tuple(others),
            sentinels=tuple(
                KnownSentinel(one.run_id, one.address) for one in self.sentinels.values()
            ),
        )

    def restore(self, state: MasterState, now_ms: float) -> None:
        """Take up what the state file held."""
        self.config_epoch = state.config_epoch
        self.vote = election.Vote(state.vote_epoch, state.voted_for)
        self.tenure.restore(state.acceptor, state.register)
        for address in state.replicas:
            self._add_replica(address, now_ms)
        for known in state.sentinels:
            self._add_sentinel(known.sentinel_id, known.address, now_ms)

    def describe(self, node: Node) -> str:
        """A node as Sentinel's events name it."""
        master = f"{self.config.name} {self.node.address.host} {self.node.address.port}"
        if node is self.node:
            return f"master {master}"
        host, port = node.address.host, node.address.port
        return f"{node.kind} {node.name} {host} {port} @ {master}"

    def publish(self, channel: str, node: Node, more: str = "", warning: bool = True) -> None:
        """A Sentinel event about a node."""
        self.context.publish(channel, self.describe(node) + more, warning)

    def close(self) -> None:
        """Stop watching: hang up."""
        for node in (self.node, *self.replicas.values()):
            self._hang_up(node)
        for sentinel_id in self.sentinels:
            self.context.drop_peer(sentinel_id)

    def reset(self, now_ms: float) -> None:
        """SENTINEL RESET: forget followers, sentinels and any failover; the promises stay."""
        for node in self.replicas.values():
            self._hang_up(node)
        for sentinel_id in self.sentinels:
            self.context.drop_peer(sentinel_id)
        self.replicas.clear()
        self.sentinels.clear()
        self.tenure.cancel()
        self.drive = Drive(self)
        self._hang_up(self.node)
        self.node = self._data_node("master", self.node.address, now_ms)
        self.context.changed()
        self.publish("+reset-master", self.node)

    def reconnect(self) -> None:
        """Credentials changed: open the links to data nodes anew."""
        for node in (self.node, *self.replicas.values()):
            self._hang_up(node)
            for link in node.wires.links():
                link.tried_ms = -1e18

    # Time.

    def tick(self, now_ms: float) -> None:
        """Monitor; and, where the clock is trusted, judge and act."""
        for node in list(self.nodes()):
            self._dial(node, now_ms)
            if node.wires.usable:
                self._ask_periodically(node, now_ms)
        self.lending.tick(now_ms)
        self.tenure.watch_store(self._uneasy, now_ms)
        if self.context.doubt.active:
            return
        for node in self.nodes():
            self._judge(node, now_ms)
        self._judge_objectively(now_ms)
        self.drive.tick(now_ms)
        self._ask_peers(now_ms)
        self.settling.tick(now_ms)

    @property
    def _uneasy(self) -> bool:
        """Whether the leader may have to be replaced soon."""
        node = self.node
        down = {"s_down", "o_down", "restarted"} & node.flags
        return bool(down) or self.drive.active or not node.wires.usable

    def progress(self, now_ms: float) -> None:
        """Something happened: whatever waited for it goes on, without waiting for a tick."""
        self.settling.register_tick(now_ms)
        if self.tenure.lease_wanted:
            self.lending.tick(now_ms)
        if self.drive.active and not self.context.doubt.active:
            self.drive.tick(now_ms)

    @property
    def busy(self) -> bool:
        """Whether a change is under way, so that ticks are to be frequent."""
        return self.drive.active or self.tenure.changing

    def _dial(self, node: Node, now_ms: float) -> None:
        wires = node.wires
        for link in wires.links():
            if link.status is LinkStatus.CLOSED:
                pause_ms = min(constants.LINK_RECONNECT_MS, self.context.timings.ping_period_ms)
                if now_ms - link.tried_ms >= pause_ms:
                    timeout_ms = max(1000, self.config.down_after_ms)
                    self.context.links.open(wires, link, self.config.name, timeout_ms, now_ms)

    def _hang_up(self, node: Node) -> None:
        for link in node.wires.links():
            self.context.links.close(link)

    def opened(self, wires: Wires, is_command: bool, now_ms: float) -> None:
        """A link of one of our nodes is ready."""
        for node in self.nodes():
            if node.wires is wires and is_command:
                node.info_ms = None if node.info_ms is None else -1e18
                node.info_asked_ms = None
                self._ping(node, now_ms)
                self._publish_hello(node, now_ms)

    def _ask_periodically(self, node: Node, now_ms: float) -> None:
        timings = self.context.timings
        ping_ms = min(self.config.down_after_ms, timings.ping_period_ms)
        if node.wires.heartbeat.due(ping_ms, now_ms):
            self._ping(node, now_ms)
        if node.kind != "sentinel" and self._info_due(node, now_ms):
            self._ask_info(node, now_ms)
        if now_ms - node.published_ms > timings.publish_period_ms:
            self._publish_hello(node, now_ms)

    def _info_due(self, node: Node, now_ms: float) -> bool:
        period_ms = self.context.timings.info_period_ms
        if node.kind == "slave" and (
            {"s_down", "o_down"} & self.node.flags
            or self.drive.active
            or node.link_down_ms
            or not node.link_up
        ):
            period_ms = min(period_ms, constants.INFO_PERIOD_FAST_MS)
        asked_ms = node.info_asked_ms
        again_ms = min(period_ms, constants.INFO_PERIOD_FAST_MS)
        if asked_ms is not None and now_ms - asked_ms < again_ms:
            return self.drive.wants_info(node, now_ms)
        if node.info_ms is None or now_ms - node.info_ms > period_ms:
            return True
        return self.drive.wants_info(node, now_ms)

    def _ask_info(self, node: Node, now_ms: float) -> None:
        node.info_asked_ms = now_ms

        def told(reply: RespValue, at_ms: float) -> None:
            if isinstance(reply, bytes):
                self._informed(node, reply, at_ms)

        self.context.links.send(node.wires.link, (b"INFO",), told)

    def ask_info_now(self, node: Node, now_ms: float) -> None:
        """An INFO out of turn."""
        if node.wires.usable:
            self._ask_info(node, now_ms)

    def _ping(self, node: Node, now_ms: float) -> None:
        heartbeat = node.wires.heartbeat
        heartbeat.sent(now_ms)

        def ponged(reply: RespValue, at_ms: float) -> None:
            heartbeat.answered(reply, at_ms)
            if isinstance(reply, bytes) and node is self.node:
                node.flags.discard("reboot")
            busy = isinstance(reply, WireError) and reply.text.startswith("BUSY")
            if busy and "s_down" in node.flags and "script_kill" not in node.flags:
                node.flags.add("script_kill")
                if node.wires.usable:
                    self.context.links.send(node.wires.link, (b"SCRIPT", b"KILL"))

        self.context.links.send(node.wires.link, (b"PING",), ponged)

    def _publish_hello(self, node: Node, now_ms: float) -> None:
        node.published_ms = now_ms
        hello = Hello(
            self.context.announce,
            self.context.sentinel_id,
            self.context.current_epoch,
            self.config.name,
            self.advertised,
            self.config_epoch,
        )

        def published(reply: RespValue, _at_ms: float) -> None:
            if isinstance(reply, WireError):
                node.published_ms = -1e18

        self.context.links.send(
            node.wires.link, (b"PUBLISH", HELLO_CHANNEL, encode_hello(hello)), published
        )

    def announce(self, now_ms: float) -> None:
        """Something changed that others should hear of at once."""
        for node in self.nodes():
            node.published_ms = -1e18
            if node.wires.usable:
                self._publish_hello(node, now_ms)

    # What nodes report.

    def _informed(self, node: Node, raw: bytes, now_ms: float) -> None:
        report = parse_info(raw)
        node.info_text = raw[: constants.INFO_BYTES_MAX].decode("utf-8", "replace")
        self._note_identity(node, report, now_ms)
        if node is self.node:
            for address in report.followers:
                if self._add_replica(address, now_ms):
                    self.publish("+slave", self.replicas[address], warning=False)
        role = report.role if report.role in ("master", "slave") else ""
        if role == "slave":
            self._note_following(node, report, now_ms)
        node.link_down_ms = report.link_down_ms
        node.repl_offset = report.repl_offset
        node.info_ms = now_ms
        if role != node.role:
            node.role, node.role_ms = role, now_ms
            if role == "slave":
                node.config_change_ms = now_ms
            sign = "+" if role == node.kind else "-"
            self.publish(f"{sign}role-change", node, f" new reported role is {role}", False)
        if self.context.doubt.active:
            return
        self.drive.informed(node, now_ms)
        self._mend_role(node, now_ms)

    def _note_identity(self, node: Node, report: InfoReport, now_ms: float) -> None:
        if report.run_id and node.run_id != report.run_id:
            if node.run_id:
                self.publish("+reboot", node, warning=False)
                if node is self.node and self.config.master_reboot_down_after_ms:
                    node.flags.add("reboot")
                    node.reboot_ms = now_ms
            node.run_id = report.run_id
        if node.node_id != report.node_id:
            node.impostor_ms = now_ms
        node.node_id, node.lease_epoch = report.node_id, report.lease_epoch
        if node.kind == "slave" and report.node_id:
            self._drop_moved(node)

    def _drop_moved(self, node: Node) -> None:
        """The same node answers at another address now: what is known of the old one goes."""
        for address, other in list(self.replicas.items()):
            moved = other is not node and other.node_id == node.node_id and "s_down" in other.flags
            if moved and not other.wires.connected:
                self._hang_up(other)
                del self.replicas[address]
                self.publish("-slave-moved", other, f" to {node.address}", warning=False)
                self.context.changed()

    def _note_following(self, node: Node, report: InfoReport, now_ms: float) -> None:
        told = (report.master_host, report.master_port)
        if (node.master_host, node.master_port) != told:
            node.master_host, node.master_port = told
            node.config_change_ms = now_ms
        node.link_up = report.link_up
        node.priority = report.priority
        node.announced = report.announced

    def follows(self, node: Node, leader: Address) -> bool:
        """Whether the node reports to follow that address."""
        return self.context.same(Address(node.master_host, node.master_port), leader)

    def _mend_role(self, node: Node, now_ms: float) -> None:
        if self.lending.mismatch(node) and not self.drive.active:
            self.lending.tell(node)
        if node is self.node or self.drive.active or not self._master_looks_sane(now_ms):
            return
        wait_ms = 4 * self.context.timings.publish_period_ms
        if node.role == "master":
            since_ms, channel = node.role_ms, "+convert-to-slave"
        elif node.role == "slave" and not self.follows(node, self.node.address):
            since_ms, channel = node.config_change_ms, "+fix-slave-config"
            wait_ms = min(self.config.failover_timeout_ms, wait_ms)
        else:
            return
        if now_ms - since_ms > wait_ms and self._up_for(node, wait_ms, now_ms):
            self.send_slaveof(node, self.node.address)
            self.publish(channel, node, warning=False)

    def _master_looks_sane(self, now_ms: float) -> bool:
        node = self.node
        return (
            node.role == "master"
            and not {"s_down", "o_down"} & node.flags
            and node.info_ms is not None
            and now_ms - node.info_ms < 2 * self.context.timings.info_period_ms
        )

    def _up_for(self, node: Node, for_ms: float, now_ms: float) -> bool:
        down_ms = max(node.s_down_ms, node.o_down_ms)
        return not {"s_down", "o_down"} & node.flags and (not down_ms or now_ms - down_ms > for_ms)

    def send_slaveof(self, node: Node, leader: Address | None) -> None:
        """The whole reconfiguration as one transaction; INFO will tell whether it worked."""
        if not node.wires.usable:
            return
        target = (b"NO", b"ONE")
        if leader is not None:
            target = (leader.host.encode(), b"%d" % leader.port)
        for args in (
            (b"MULTI",),
            (b"SLAVEOF", *target),
            (b"CONFIG", b"REWRITE"),
            (b"CLIENT", b"KILL", b"TYPE", b"normal"),
            (b"CLIENT", b"KILL", b"TYPE", b"pubsub"),
            (b"EXEC",),
        ):
            self.context.links.send(node.wires.link, args)

    # Who is down.

    def _judge(self, node: Node, now_ms: float) -> None:
        wires, timings = node.wires, self.context.timings
        self._hang_up_if_stuck(node, now_ms)
        silent_ms = wires.heartbeat.silent_ms(wires.connected, now_ms)
        if node is not self.node and not node.flags and silent_ms <= self.config.down_after_ms:
            return  # up, as it was
        wrong_ms = reboot_ms = None
        if node is self.node:
            if node.role == "slave" and not self._promotable_by_register(node):
                wrong_ms = now_ms - node.role_ms
            if self.settling.is_impostor(node):
                silent_ms = max(silent_ms, now_ms - node.impostor_ms)
            if "reboot" in node.flags:
                reboot_ms = now_ms - node.reboot_ms
        down = (node is self.node and self.is_gone(node, now_ms)) or subjectively_down(
            Signs(silent_ms, wrong_ms, reboot_ms),
            self.config.down_after_ms,
            timings.info_period_ms,
            self.config.master_reboot_down_after_ms,
        )
        if down and "s_down" not in node.flags:
            node.flags.add("s_down")
            node.s_down_ms = now_ms
            self.publish("+sdown", node)
        elif not down and "s_down" in node.flags:
            node.flags -= {"s_down", "script_kill"}
            self.publish("-sdown", node)

    def is_gone(self, node: Node, now_ms: float) -> bool:
        """A leader of ours whose process is gone: its link broke, dials are refused, and every
        follower we can ask has said since then that it does not hear it either. That is known at
        once; silence, which may be a stall, is given `down-after-milliseconds`.
        """
        lost_ms = node.wires.lost_ms
        if lost_ms is None or not node.wires.refused or not node.lease_capable:
            return False
        asked = [one for one in self.replicas.values() if one.wires.usable]
        for one in asked:
            stale = one.info_ms is None or one.info_ms < lost_ms or one.link_up
            if stale and now_ms - (one.info_asked_ms or -1e18) >= constants.PROMOTION_INFO_MS:
                self._ask_info(one, now_ms)
        return bool(asked) and all(
            one.info_ms is not None and one.info_ms >= lost_ms and not one.link_up for one in asked
        )

    def _promotable_by_register(self, node: Node) -> bool:
        """A leader of ours that still reports to follow is about to be told to lead."""
        value = self.tenure.register
        return value is not None and bool(value.leader_id) and value.leader_id == node.node_id

    def _hang_up_if_stuck(self, node: Node, now_ms: float) -> None:
        wires, timings = node.wires, self.context.timings
        age_ms = timings.min_link_reconnect_ms
        half_ms = self.config.down_after_ms / 2
        beat = wires.heartbeat
        if (
            wires.link.status is LinkStatus.OPEN
            and now_ms - wires.link.opened_ms > age_ms
            and beat.waiting_since_ms is not None
            and now_ms - beat.waiting_since_ms > half_ms
            and now_ms - beat.last_reply_ms > half_ms
        ):
            self.context.links.close(wires.link)
        hello = wires.hello
        if (
            hello is not None
            and hello.status is LinkStatus.OPEN
            and now_ms - hello.opened_ms > age_ms
            and now_ms - hello.heard_ms > 3 * timings.publish_period_ms
        ):
            self.context.links.close(hello)

    def _judge_objectively(self, now_ms: float) -> None:
        node = self.node
        count = 0
        if {"s_down", "restarted"} & node.flags:
            count = 1 + sum("master_down" in one.flags for one in self.sentinels.values())
        down = 0 < self.config.quorum <= count
        if down and "o_down" not in node.flags:
            node.flags.add("o_down")
            node.o_down_ms = now_ms
            self.publish("+odown", node, f" #quorum {count}/{self.config.quorum}")
        elif not down and "o_down" in node.flags:
            node.flags.discard("o_down")
            self.publish("-odown", node)

    def _ask_peers(self, now_ms: float) -> None:
        """IS-MASTER-DOWN-BY-ADDR to all, while we think so or drive a change."""
        ask_ms = self.context.timings.ask_period_ms
        concerned = {"s_down", "restarted"} & self.node.flags or self.drive.electing
        for peer in self.sentinels.values():
            if now_ms - peer.answered_down_ms > 5 * ask_ms:
                peer.flags.discard("master_down")
                peer.voted_for = ""
            if not concerned or not peer.wires.usable:
                continue
            agreed = "master_down" in peer.flags and not self.drive.electing
            period_ms = ask_ms if agreed else min(ask_ms, constants.ASK_AGAIN_MS)
            if now_ms - peer.asked_ms >= period_ms:
                self._ask_peer(peer, now_ms)

    def ask_peers_now(self, now_ms: float) -> None:
        """A change begins: ask all for their votes."""
        for peer in self.sentinels.values():
            if peer.wires.usable:
                self._ask_peer(peer, now_ms)

    def _ask_peer(self, peer: Node, now_ms: float) -> None:
        peer.asked_ms = now_ms
        candidate = self.context.sentinel_id if self.drive.active else "*"

        def answered(reply: RespValue, at_ms: float) -> None:
            self._peer_answered(peer, reply, at_ms)

        self.context.links.send(
            peer.wires.link,
            (
                b"SENTINEL",
                b"IS-MASTER-DOWN-BY-ADDR",
                self.node.address.host.encode(),
                b"%d" % self.node.address.port,
                b"%d" % self.context.current_epoch,
                candidate.encode(),
            ),
            answered,
        )

    def _peer_answered(self, peer: Node, reply: RespValue, now_ms: float) -> None:
        if not isinstance(reply, tuple) or len(reply) != 3:
            return
        down, leader, epoch = reply
        if not isinstance(leader, bytes) or not isinstance(epoch, int):
            return
        peer.answered_down_ms = now_ms
        if down == 1:
            peer.flags.add("master_down")
        else:
            peer.flags.discard("master_down")
        if leader != b"*":
            peer.voted_for = leader[: constants.ID_BYTES_MAX].decode("utf-8", "replace")
            peer.vote_epoch = epoch
        if self.drive.electing and not self.context.doubt.active:
            self.drive.tick(now_ms)

    def is_down(self) -> bool:
        """What we tell a peer that asks."""
        over = {"s_down", "restarted"} & self.node.flags
        return bool(over) and not self.context.doubt.active

    def cast_vote(self, epoch: int, candidate: str, now_ms: float) -> election.Vote:
        """Our vote in `epoch`, given now if not given yet; durable before it is told."""
        context = self.context
        context.raise_epoch(epoch)
        vote = election.cast(self.vote, context.current_epoch, epoch, candidate)
        if vote != self.vote:
            self.vote = vote
            context.changed()
            context.publish("+vote-for-leader", f"{vote.sentinel_id} {vote.epoch}")
            # The leader's lease is left to run out while the chosen sentinel may act.
            self.tenure.withhold(2 * context.timings.lease_ttl_ms, now_ms)
            if candidate != context.sentinel_id:
                self.drive.wait_for_other(now_ms)
        return self.vote

    # Other sentinels.

    def heard(self, hello: Hello, now_ms: float) -> None:
        """A hello of another sentinel about this master."""
        context = self.context
        peer = self.sentinels.get(hello.sentinel_id)
        if peer is None or peer.address != hello.address:
            if not self._meet(hello, now_ms):
                return
            peer = self.sentinels[hello.sentinel_id]
        peer.hello_ms = now_ms
        context.raise_epoch(hello.current_epoch, now_ms)
        if hello.config_epoch > self.config_epoch:
            self._newer_config(peer, hello, now_ms)

    def _meet(self, hello: Hello, now_ms: float) -> bool:
        """A sentinel unknown so far, or known at another address."""
        moved = hello.sentinel_id in self.sentinels
        if moved:
            self._drop_sentinel(hello.sentinel_id)
            more = f" ip {hello.address.host} port {hello.address.port} for {hello.sentinel_id}"
            self.publish("+sentinel-address-switch", self.node, more, False)
        else:
            for other in [s for s in self.sentinels.values() if s.address == hello.address]:
                self.publish("+sentinel-invalid-addr", other, warning=False)
                self._drop_sentinel(other.run_id)
        if len(self.sentinels) >= constants.SENTINELS_MAX:
            return False
        peer = self._add_sentinel(hello.sentinel_id, hello.address, now_ms)
        if not moved:
            self.publish("+sentinel", peer, warning=False)
        self.context.changed()
        return True

    def _newer_config(self, peer: Node, hello: Hello, now_ms: float) -> None:
        value = self.tenure.register
        if value is not None and value.epoch >= hello.config_epoch:
            self._adopt(peer, hello, now_ms)
        elif self.tenure.stored:
            self.ask_register()
        elif peer.wires.usable:
            self._ask_register(peer, hello)

    def ask_register(self) -> None:
        """Ask all peers what the register holds: somebody knows more than we do."""
        if self.tenure.stored:
            self.tenure.read_soon()
            return
        for peer in self.sentinels.values():
            if peer.wires.usable:
                self._ask_register(peer, None)

    def _ask_register(self, peer: Node, hello: Hello | None) -> None:
        def answered(reply: RespValue, at_ms: float) -> None:
            self._register_told(peer, hello, reply, at_ms)

        self.context.links.send(
            peer.wires.link,
            (b"SENTINEL", b"REGISTER", b"GET", self.config.name.encode()),
            answered,
        )

    def _register_told(
        self, peer: Node, hello: Hello | None, reply: RespValue, now_ms: float
    ) -> None:
        """A peer that knows the register tells it; a stock sentinel is believed by its hello."""
        if isinstance(reply, tuple) and len(reply) == 1 + VALUE_FIELDS and reply[0] == b"VALUE":
            try:
                value = parse_value(reply[1:])
            except MessageError:
                return
            if value is None or (hello is not None and value.epoch < hello.config_epoch):
                return
            if self.tenure.learn(value, now_ms):
                self.lending.tell_all(now_ms)
        elif not isinstance(reply, WireError):
            return
        if hello is not None and hello.config_epoch > self.config_epoch:
            self._adopt(peer, hello, now_ms)

    def _adopt(self, peer: Node, hello: Hello, now_ms: float) -> None:
        self.config_epoch = hello.config_epoch
        self.context.changed_later(now_ms)
        self.drive.superseded(hello.config_epoch, now_ms)
        if not self.context.same(hello.leader, self.node.address):
            self.publish("+config-update-from", peer)
            self.switch_to(hello.leader, "observer", now_ms)
        self.lending.tell_all(now_ms)

    # Who is who.

    def switch_to(self, leader: Address, role: str, now_ms: float) -> None:
        """Watch another address as the master; the old one becomes a follower to be found again."""
        old = self.node.address
        name = self.config.name
        self.context.publish(
            "+switch-master", f"{name} {old.host} {old.port} {leader.host} {leader.port}"
        )
        known = {one.address: one for one in (self.node, *self.replicas.values())}
        self.node = self._again("master", known.get(leader), leader, now_ms)
        self.replicas = {}
        for address, one in known.items():
            if not self.context.same(address, leader):
                self.replicas[address] = self._again("slave", one, address, now_ms)
                self.publish("+slave", self.replicas[address], warning=False)
            elif address != leader:
                self._hang_up(one)
        for peer in self.sentinels.values():
            peer.flags.discard("master_down")
            peer.voted_for = ""
        self.drive.finished(now_ms)
        self.context.changed_later(now_ms)
        if role == "observer":
            self.context.emit(LeaderMoved(name, role, "start", old, leader))
        self.announce(now_ms)

    def _again(self, kind: str, known: Node | None, address: Address, now_ms: float) -> Node:
        """A node in its new place: the links stay, what it reported before does not count."""
        node = self._data_node(kind, address, now_ms, known.wires if known else None)
        if known is not None:
            node.run_id, node.node_id = known.run_id, known.node_id
            node.lease_epoch = known.lease_epoch
            node.priority, node.repl_offset = known.priority, known.repl_offset
        return node

    def _data_node(
        self, kind: str, address: Address, now_ms: float, wires: Wires | None = None
    ) -> Node:
        node = Node(kind, address, wires or Wires(address, LinkKind.COMMAND, now_ms), now_ms)
        node.role, node.role_ms, node.config_change_ms = kind, now_ms, now_ms
        node.impostor_ms = now_ms
        return node

    def _add_replica(self, address: Address, now_ms: float) -> bool:
        known = (self.node.address, *self.replicas)
        if any(self.context.same(address, one) for one in known):
            return False
        if len(self.replicas) >= constants.REPLICAS_MAX:
            return False
        self.replicas[address] = self._data_node("slave", address, now_ms)
        self.context.changed()
        return True

    def _add_sentinel(self, sentinel_id: str, address: Address, now_ms: float) -> Node:
        wires = self.context.peer_wires(sentinel_id, address, now_ms)
        peer = Node("sentinel", address, wires, now_ms, run_id=sentinel_id)
        self.sentinels[sentinel_id] = peer
        return peer

    def _drop_sentinel(self, sentinel_id: str) -> None:
        del self.sentinels[sentinel_id]
        self.context.drop_peer(sentinel_id)

    def configure(self, config: MasterConfig) -> None:
        """SENTINEL SET: everything but name and address."""
        self.config = replace(config, name=self.config.name, address=self.config.address)
        self.context.changed()
