"""etcd as a store, by the JSON gateway of its v3 API over HTTP/1.1 (etcd 3.4 and later).

    <prefix>/<name>/register      each key one cell; its mod_revision is the cell's version
    <prefix>/<name>/lease

Both calls are one transaction: a read is linearizable and takes both keys at one revision, a write
compares their mod_revisions and puts, or else reads. etcd's leases are not used: they count in
whole seconds, two at least, and renewing one is no write that the cluster agrees on (stores.py).

The hosts are tried in turn. One that refused the connection never got the question, so the next one
is asked; after any other failure the outcome is unknown, and the next question goes to the next
host.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
from typing import Any
from urllib.parse import quote

import aiohttp

from cache_server.coordination.constants import STORE_REPLY_BYTES_MAX
from cache_server.coordination.contract import Store, StoreReplyError, StoreUnreachable
from cache_server.coordination.store_address import StoreAddress, client_context
from replication.failover.stores import (
    CELL_BYTES_MAX,
    VERSION_MAX,
    Cell,
    Cells,
    Conflict,
    Which,
    Write,
    Written,
)

#: gRPC's code of a token that is not (any more) valid.
_UNAUTHENTICATED = 16


class EtcdError(StoreUnreachable):
    """etcd refused; `code` is gRPC's."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class EtcdStore:
    """One HTTP session with a cluster."""

    def __init__(self, address: StoreAddress, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | bool = client_context(address) if address.encrypted else False
        self._session: aiohttp.ClientSession | None = None
        self._host = 0
        self._token = ""

    async def read(self, name: str) -> Cells:
        """Both cells at one revision."""
        reply = await self._call("kv/txn", {"success": self._ranges(name)})
        return self._cells(name, reply)

    async def write(self, ask: Write) -> Written | Conflict:
        """One transaction."""
        versions = {Which.REGISTER: ask.register_version, Which.LEASE: ask.lease_version}
        compares = [
            {
                "key": _b64(self._key(ask.name, which)),
                "target": "MOD",
                "result": "EQUAL",
                "mod_revision": str(version),
            }
            for which, version in versions.items()
            if version is not None
        ]
        put = {"key": _b64(self._key(ask.name, ask.which)), "value": _b64(ask.value)}
        request = {
            "compare": compares,
            "success": [{"request_put": put}],
            "failure": self._ranges(ask.name),
        }
        reply = await self._call("kv/txn", request)
        if _field(reply, "succeeded", bool, False):
            header = _field(reply, "header", dict, {})
            return Written(_version(header.get("revision")))
        return Conflict(self._cells(ask.name, reply))

    async def close(self) -> None:
        """Ends the session."""
        if self._session is not None:
            await self._session.close()

    # -- keys and values -----------------------------------------------------------------------

    def _key(self, name: str, which: Which) -> bytes:
        return f"{self._address.prefix}/{quote(name, safe='')}/{which.value}".encode()

    def _ranges(self, name: str) -> list[dict[str, Any]]:
        return [{"request_range": {"key": _b64(self._key(name, which))}} for which in Which]

    def _cells(self, name: str, reply: dict[str, Any]) -> Cells:
        """What two ranges found."""
        responses = _field(reply, "responses", list, [])
        if len(responses) != len(Which):
            raise StoreReplyError("etcd answered with another number of responses than asked")
        cells = []
        for which, one in zip(Which, responses):
            found = _field(_dict(one), "response_range", dict, {})
            rows = _field(found, "kvs", list, [])
            if len(rows) > 1:
                raise StoreReplyError("etcd answered with several values of one key")
            cells.append(self._cell(self._key(name, which), rows))
        return Cells(*cells)

    def _cell(self, key: bytes, rows: list[Any]) -> Cell:
        if not rows:
            return Cell()
        row = _dict(rows[0])
        if _bytes(row.get("key")) != key:
            raise StoreReplyError("etcd answered with another key than asked for")
        value = _bytes(row.get("value", ""))
        if len(value) > CELL_BYTES_MAX:
            raise StoreReplyError("etcd holds a value that is too large to be ours")
        return Cell(value, _version(row.get("mod_revision")))

    # -- calls ---------------------------------------------------------------------------------

    async def _call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One call, within the time; logs in first where there is a user."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._address.user and not self._token:
                    await self._log_in()
                try:
                    return await self._post(path, body)
                except EtcdError as error:
                    if not self._token or error.code != _UNAUTHENTICATED:
                        raise
                await self._log_in()
                return await self._post(path, body)
        except TimeoutError:
            raise StoreUnreachable(f"etcd gave no answer in {self._timeout_s:g} s") from None

    async def _log_in(self) -> None:
        self._token = ""
        body = {"name": self._address.user, "password": self._address.password}
        token = (await self._post("auth/authenticate", body)).get("token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise StoreReplyError("etcd answered with no token")
        self._token = token

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """To the host in use; to the next where the connection is refused."""
        refused: Exception | None = None
        for _ in self._address.hosts:
            asked = self._host
            host, port = self._address.hosts[asked]
            place = f"[{host}]" if ":" in host else host
            scheme = "https" if self._address.encrypted else "http"
            try:
                return await self._exchange(f"{scheme}://{place}:{port}/v3/{path}", body)
            except aiohttp.ClientConnectorError as error:
                refused = error
                self._leave_host(asked)
            except (TimeoutError, asyncio.CancelledError):
                self._leave_host(asked)
                raise
            except (aiohttp.ClientError, OSError) as error:
                self._leave_host(asked)
                raise StoreUnreachable(f"etcd: {error or type(error).__name__}") from None
            except EtcdError:
                self._leave_host(asked)
                raise
        raise StoreUnreachable(f"etcd: {refused}")

    async def _exchange(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": self._token} if self._token else {}
        call = self._http().post(url, json=body, headers=headers, allow_redirects=False)
        async with call as response:
            raw = bytearray()
            async for chunk in response.content.iter_any():
                raw += chunk
                if len(raw) > STORE_REPLY_BYTES_MAX:
                    raise StoreReplyError("etcd's answer is too long")
            reply = _parse(bytes(raw), response.status)
        if response.status != 200:
            text = str(reply.get("error") or reply.get("message") or response.status)[:160]
            code = reply.get("code")
            raise EtcdError(f"etcd refuses: {text}", code if isinstance(code, int) else 0)
        return reply

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls or True, limit_per_host=8),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    def _leave_host(self, asked: int) -> None:
        """To the next host; once, however many calls waited for the one that failed them."""
        if self._host == asked:
            self._host = (asked + 1) % len(self._address.hosts)


def connect(address: StoreAddress, timeout_s: float) -> Store:
    """The store at that address; it dials when it is asked."""
    return EtcdStore(address, timeout_s)


# -- reading JSON that is not trusted --------------------------------------------------------------


def _parse(raw: bytes, status: int) -> dict[str, Any]:
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError):
        raise StoreReplyError(f"etcd answered with what is no JSON (status {status})") from None
    return _dict(reply)


def _dict(raw: object) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise StoreReplyError("etcd answered with JSON of another form")
    return raw


def _field(reply: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = reply.get(name, default)
    if not isinstance(value, kind):
        raise StoreReplyError(f"etcd answered with a '{name}' of another form")
    return value


def _version(raw: object) -> int:
    """A revision: a number, which JSON has as a string."""
    digits = str(raw) if isinstance(raw, int | str) and not isinstance(raw, bool) else ""
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
        raise StoreReplyError("etcd answered with a revision that is no number")
    if not 0 < int(digits) <= VERSION_MAX:
        raise StoreReplyError("etcd answered with a revision out of range")
    return int(digits)


def _bytes(raw: object) -> bytes:
    if not isinstance(raw, str):
        raise StoreReplyError("etcd answered with a value that is no string")
    try:
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        raise StoreReplyError("etcd answered with a value that is not base64") from None


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
