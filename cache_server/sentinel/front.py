"""The sentinel: settings, machine, scripts and files of one process, behind the driver.

The machine decides; what is here answers for what it leaves to the shell: credentials and renamed
commands, the two files (the state file that holds promises, the configuration file that people and
tools read), events to the log and to subscribers, scripts.

Invariant: the state file is durable before anything that rests on it leaves. The configuration file
is written a moment after it; failing to write that one costs only a line in the log and an error to
whoever asked for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cache_server.config_file import read_text, replace_file
from cache_server.coordination import durable
from cache_server.coordination.clock import now_ms
from cache_server.coordination.contract import StoreDesk
from cache_server.coordination.driver import Driver
from cache_server.coordination.link import Command, is_ip
from cache_server.coordination.store_address import StoreAddress
from cache_server.coordination.stores import open_desk
from cache_server.errors import InputError
from cache_server.sentinel import reports
from cache_server.sentinel.config_file import rewritten
from cache_server.sentinel.recorder import Recorder
from cache_server.sentinel.scripts import Scripts
from cache_server.sentinel.settings import MasterOptions, Settings
from replication.failover import state as states
from replication.failover.actions import LeaderMoved, LinkKind, Publish
from replication.failover.cluster_view import (
    Address,
    ClusterView,
    MasterConfig,
    MasterView,
    SentinelState,
    Timings,
)
from replication.failover.events import AnnounceChanged, FlushAsked, SentinelEvent
from replication.failover.sentinel import SentinelMachine
from replication.failover.stores import Ask, Outcome

log = logging.getLogger("cache_server")

#: How SENTINEL SIMULATE-FAILURE ends the process, and after which event (bits as in INFO).
SIMULATED_EXIT = 99
SIMULATIONS = {"crash-after-election": (1, "+elected-leader"),
               "crash-after-promotion": (2, "+promoted-slave")}  # fmt: skip

#: The configuration file is for people and tools: it follows the state file, and holds up nothing.
CONFIG_WRITE_DELAY_S = 0.2

_LOOPBACK = ("127.", "::1")


class Sentinel:
    """One sentinel process. `publish(channel, payload)` reaches its own subscribers; `password()`
    is this sentinel's own requirepass; `link_context()` what links are encrypted with;
    `source_address()` where they are dialled from; `end(code)` ends the process; `coordinator` is
    the external store, where there is one."""

    def __init__(
        self,
        config_path: str,
        settings: Settings,
        state: SentinelState,
        port: int,
        publish: Callable[[bytes, bytes], Any],
        password: Callable[[], str],
        link_context: Callable[[], ssl.SSLContext | None],
        source_address: Callable[[], str],
        end: Callable[[int], Any],
        coordinator: StoreAddress | None = None,
    ) -> None:
        self.config_path = config_path
        self.settings = settings
        self.state = state
        self.timings = Timings()
        if coordinator is not None:
            self.timings = Timings(lease_ttl_ms=coordinator.ttl_ms)
        self._coordinator = coordinator
        self._desk: StoreDesk | None = None
        self.simulations = 0
        self.scripts = Scripts(self._script_event)
        self.recorder = Recorder(f"{config_path}.history")
        self.driver = Driver(self)
        self._port = port
        self._local_ip = ""
        self._publish = publish
        self._password = password
        self.link_context = link_context
        self.source_address = source_address
        #: The `user` lines of the configuration file.
        self.user_lines: Callable[[], list[str]] = list
        self._end = end
        self._ips: dict[str, str] = {}
        self._config_due: asyncio.TimerHandle | None = None

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Makes the state durable, then begins to watch."""
        log.warning("Sentinel ID is %s", self.state.sentinel_id)
        label = ""
        if self._coordinator is not None:
            self._desk = open_desk(self._coordinator)
            label = self._desk.label
            log.warning("Register and leases are kept in %s", label)
        machine = SentinelMachine(
            self.state, self.announce, random.Random(), now_ms(), self.timings, label
        )
        self.driver.start(machine)
        self.driver.ask(FlushAsked, lambda _: None)

    async def stop(self) -> None:
        """Hangs up everywhere."""
        self.driver.stop()
        self.scripts.stop()
        if self._config_due is not None:
            self.save_config()
        if self._desk is not None:
            await self._desk.close()

    def cron(self) -> None:
        """About once a second."""
        self.scripts.poll()

    # -- for the commands ----------------------------------------------------------------------

    def view(self) -> ClusterView:
        """What is known now."""
        return self.driver.view()

    def master(self, name: bytes) -> MasterView | None:
        """The master of that name."""
        return self.view().master(name.decode("utf-8", "surrogateescape"))

    def options(self, name: str) -> MasterOptions:
        """What the shell keeps of a master."""
        return self.settings.options.setdefault(name, MasterOptions())

    def shown_host(self, host: str) -> str:
        """A host as clients are told it: names only where they are to be announced."""
        if self.settings.announce_hostnames or is_ip(host):
            return host
        return self._ips.get(host, host)

    def info_lines(self) -> list[str]:
        """INFO's section `sentinel`."""
        queued = len(self.scripts.jobs) - self.scripts.running
        return reports.info_lines(
            self.view(), self.shown_host, self.scripts.running, queued, self.simulations
        )

    @property
    def announce(self) -> Address:
        """Where other sentinels are told to reach us."""
        host = self.settings.announce_ip or self._local_ip or "127.0.0.1"
        return Address(host, self.settings.announce_port or self._port)

    def announce_again(self) -> None:
        """The address or the port to announce changed."""
        self.driver.receive(AnnounceChanged(self.announce))

    def save_config(self) -> bool:
        """Rewrites the configuration file where it differs; False where it cannot be written."""
        if self._config_due is not None:
            self._config_due.cancel()
            self._config_due = None
        try:
            text = read_text(self.config_path) if os.path.exists(self.config_path) else ""
            wanted = rewritten(text, self.settings, self.state, self.user_lines())
            if wanted != text:
                replace_file(self.config_path, wanted)
                log.info("Sentinel new configuration saved on disk")
        except (OSError, InputError) as error:
            log.warning(
                "WARNING: Sentinel was not able to save the new configuration on disk!!!: %s", error
            )
            return False
        return True

    # -- for the driver ------------------------------------------------------------------------

    def save(self, state: SentinelState) -> None:
        """State file first: promises rest on it. Raises OSError."""
        durable.write(state_path(self.config_path), states.encode(state))
        self.state = state
        if self._config_due is None:
            loop = asyncio.get_running_loop()
            self._config_due = loop.call_later(CONFIG_WRITE_DELAY_S, self.save_config)

    def state_lost(self, error: OSError) -> None:
        """Nothing may be promised any more."""
        log.critical("The state file cannot be written, exiting: %s", error)
        self._end(1)

    def published(self, event: Publish) -> None:
        """To the log, to subscribers, to the notification script, in this order."""
        level = logging.WARNING if event.warning else logging.INFO
        log.log(level, "%s %s", event.channel, event.payload)
        self.recorder.note(event.channel, event.payload)
        self._publish(event.channel.encode(), event.payload.encode("utf-8", "surrogateescape"))
        if event.warning:
            script = self._script_of(event.payload)
            if script:
                self.scripts.call(script, event.channel, event.payload)
        for bit, channel in SIMULATIONS.values():
            if self.simulations & bit and channel == event.channel:
                log.warning("Sentinel simulated crash because of %s", channel)
                os._exit(SIMULATED_EXIT)

    def _script_of(self, payload: str) -> str:
        """The notification script of the master that an event speaks of."""
        node, _, master = payload.partition(" @ ")
        words = master.split(" ")[:1] if master else node.split(" ")[:2]
        found = [self.settings.options[word] for word in words if word in self.settings.options]
        return found[-1].notification_script if found else ""

    def _script_event(self, channel: str, payload: str) -> None:
        self.published(Publish(channel, payload, warning=False))

    def leader_moved(self, move: LeaderMoved) -> None:
        script = self.options(move.master).client_reconfig_script
        if script:
            old, new = move.old, move.new
            places = (old.host, str(old.port), new.host, str(new.port))
            self.scripts.call(script, move.master, move.role, move.state, *places)

    def introduction(self, kind: LinkKind, master: str) -> list[Command]:
        """AUTH where there is a password, and the link's name."""
        commands: list[Command] = []
        if kind is LinkKind.SENTINEL:
            user = self.settings.sentinel_user if self.settings.sentinel_pass else ""
            word = self.settings.sentinel_pass or self._password()
        else:
            user, word = self.options(master).auth_user, self.options(master).auth_pass
        if word:
            parts = [user, word] if user else [word]
            commands.append((b"AUTH", *(part.encode("utf-8", "surrogateescape") for part in parts)))
        name = f"sentinel-{self.state.sentinel_id[:8]}-{_LINK_NAMES[kind]}"
        commands.append((b"CLIENT", b"SETNAME", name.encode()))
        return [self.renamed(master, args) for args in commands]

    def ask_store(self, ask: Ask, done: Callable[[Outcome], None]) -> None:
        """A question to the external store."""
        assert self._desk is not None
        self._desk.ask(ask, done)

    def may_dial(self, host: str) -> bool:
        return self.settings.resolve_hostnames

    def dialled(self, host: str, ip: str, local_ip: str) -> None:
        """A link was opened: from here we are reached, unless a better address is known."""
        self._ips[host] = ip
        better = not self._local_ip or self._local_ip.startswith(_LOOPBACK)
        if better and local_ip != self._local_ip:
            before = self.announce
            self._local_ip = local_ip
            if self.announce != before:
                self.announce_again()

    def renamed(self, master: str, args: Command) -> Command:
        options = self.settings.options.get(master)
        if options is None or not options.renames:
            return args
        new = options.renames.get(args[0].decode("ascii", "replace").lower())
        return args if new is None else (new.encode("utf-8", "surrogateescape"), *args[1:])

    # -- changes -------------------------------------------------------------------------------

    def forget(self, name: str) -> None:
        """A master is no longer monitored."""
        self.settings.options.pop(name, None)

    def changed_config(self, name: str, **changes: int) -> MasterConfig:
        """The master's configuration with these changes. The master must exist."""
        master = self.view().master(name)
        assert master is not None
        return replace(master.config, **changes)  # type: ignore[arg-type]

    def receive(self, event: SentinelEvent) -> None:
        """An event that nobody waits for."""
        self.driver.receive(event)


_LINK_NAMES = {LinkKind.COMMAND: "cmd", LinkKind.PUBSUB: "pubsub", LinkKind.SENTINEL: "cmd"}


def state_path(config_path: str) -> str:
    """Where the state file is: beside the configuration file, which is each sentinel's own."""
    return f"{config_path}.state"


def read_state(config_path: str) -> SentinelState | None:
    """The state kept from before; None for a new sentinel. Raises InputError, OSError."""
    path = state_path(config_path)
    raw = durable.read(path)
    if raw is None:
        return None
    try:
        return states.decode(raw)
    except states.StateError as error:
        raise InputError(
            f"{path}: {error}. A sentinel that has lost its promises must not vote. If this one "
            f"can be a new sentinel, remove the file and the line 'sentinel myid' of {config_path}."
        ) from None
