"""etcd's gateway, played by a socket that says what the test wants."""

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.coordination import constants
from cache_server.coordination.contract import StoreReplyError, StoreUnreachable
from cache_server.coordination.etcd import EtcdStore, _dict
from cache_server.coordination.store_address import parse
from replication.failover.stores import CELL_BYTES_MAX, Cell, Cells, Conflict, Which, Write, Written

REGISTER, LEASE = b"/p/main/register", b"/p/main/lease"
WRITE = Write("main", Which.LEASE, b"held", 7, 9)


def b64(raw):
    return base64.b64encode(raw).decode()


def row(key, value=b"v", version="7"):
    return {"kvs": [{"key": b64(key), "value": b64(value), "mod_revision": version}]}


def ranges(*found):
    return {"responses": [{"response_range": one} for one in found]}


class Gateway:
    """Answers each request with the next of `answers`: (status, body), or None to say nothing."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = dict(one.lower().split(": ", 1) for one in head[1:] if one)
                body = await reader.readexactly(int(fields["content-length"]))
                path = head[0].split()[1]
                self.requests.append((path, json.loads(body), fields.get("authorization", "")))
                answer = self.answers.pop(0) if self.answers else None
                if answer is None:
                    await asyncio.Event().wait()  # a store that hangs
                status, reply = answer
                raw = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                length = f"HTTP/1.1 {status} x\r\ncontent-length: {len(raw)}\r\n\r\n"
                writer.write(length.encode() + raw)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()


def talk(call, *answers, word="etcd://{place}/p", timeout_s=5.0):
    """What `call(store)` gives, and what the gateway was asked."""

    async def run():
        async with Gateway(*answers) as gateway:
            address = parse(word.format(place=f"127.0.0.1:{gateway.port}"))
            store = EtcdStore(address, timeout_s)
            try:
                return await call(store), gateway.requests
            finally:
                await store.close()

    return asyncio.run(run())


def test_a_read_is_one_transaction_of_two_ranges():
    found, requests = talk(lambda one: one.read("main"), (200, ranges(row(REGISTER), {})))
    assert found == Cells(Cell(b"v", 7), Cell())
    ((path, body, _),) = requests
    assert path == "/v3/kv/txn"
    keys = [one["request_range"]["key"] for one in body["success"]]
    assert keys == [b64(REGISTER), b64(LEASE)]
    assert "serializable" not in json.dumps(body)


def test_a_write_compares_both_versions_and_takes_the_revision_for_the_new_one():
    reply = {"header": {"revision": "12"}, "succeeded": True, "responses": [{"response_put": {}}]}
    written, requests = talk(lambda one: one.write(WRITE), (200, reply))
    assert written == Written(12)
    compares = {one["key"]: one["mod_revision"] for one in requests[0][1]["compare"]}
    assert compares == {b64(REGISTER): "7", b64(LEASE): "9"}


def test_a_version_that_differs_is_a_conflict_that_tells_what_is_there():
    reply = {"header": {"revision": "12"}} | ranges(row(REGISTER, b"a", "3"), row(LEASE, b"b", "4"))
    conflict, _ = talk(lambda one: one.write(WRITE), (200, reply))
    assert conflict == Conflict(Cells(Cell(b"a", 3), Cell(b"b", 4)))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense",
        b"[" * 100_000,
        b'{"responses": 7}',
        b"[]",
        b"null",
        ranges(row(REGISTER)),
        ranges(row(REGISTER), {}, {}),
        {"responses": [7, 8]},
        {"responses": [{"response_range": []}, {}]},
        ranges({"kvs": {}}, {}),
        ranges({"kvs": [1]}, {}),
        ranges({"kvs": [{}, {}]}, {}),
        ranges(row(LEASE), {}),
        ranges(row(REGISTER, version="x"), {}),
        ranges(row(REGISTER, version=True), {}),
        ranges(row(REGISTER, version="0"), {}),
        ranges(row(REGISTER, version="9" * 19), {}),
        ranges({"kvs": [{"key": b64(REGISTER), "value": "%%", "mod_revision": "1"}]}, {}),
        ranges({"kvs": [{"key": b64(REGISTER), "value": 5, "mod_revision": "1"}]}, {}),
        ranges(row(REGISTER, b"x" * (CELL_BYTES_MAX + 1)), {}),
        b'{"a": "' + b"x" * constants.STORE_REPLY_BYTES_MAX + b'"}',
    ],
)
def test_answers_of_nonsense_are_told_apart_and_bounded(reply):
    with pytest.raises(StoreReplyError):
        talk(lambda one: one.read("main"), (200, reply))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["responses", "response_range", "kvs", "succeeded", "header"]),
                inner,
            )
        ),
    )
)
def test_any_json_gives_cells_or_the_typed_error(reply):
    store = EtcdStore(parse("etcd://h/p"), 5.0)

    async def post(_path, _body):
        return _dict(reply)

    store._post = post
    for call in (store.read("main"), store.write(WRITE)):
        try:
            found = asyncio.run(call)
        except StoreUnreachable:
            continue
        assert isinstance(found, Cells | Conflict | Written)


def test_a_refusal_is_unreachable_with_etcds_words():
    with pytest.raises(StoreUnreachable, match="etcdserver: no leader"):
        talk(lambda one: one.read("main"), (503, {"error": "etcdserver: no leader", "code": 14}))


def test_no_answer_is_unreachable_in_time():
    with pytest.raises(StoreUnreachable, match=r"no answer in 0\.2 s"):
        talk(lambda one: one.read("main"), None, timeout_s=0.2)


def test_a_host_that_refuses_is_passed_over():
    word = "etcd://127.0.0.1:1,{place}/p"
    found, _ = talk(lambda one: one.read("main"), (200, ranges({}, {})), word=word)
    assert found == Cells(Cell(), Cell())


def test_calls_that_a_host_failed_together_leave_it_once():
    async def call(store):
        await asyncio.gather(*(store.read("main") for _ in range(3)), return_exceptions=True)
        return store._host

    word = "etcd://{place},127.0.0.1:1,127.0.0.1:2/p"
    assert talk(call, None, None, None, word=word, timeout_s=0.2)[0] == 1


def test_a_silent_host_is_left_even_if_others_were_tried_before_it():
    async def call(store):
        with pytest.raises(StoreUnreachable, match="no answer"):
            await store.read("main")
        return store._host

    word = "etcd://127.0.0.1:1,{place}/p"
    assert talk(call, None, word=word, timeout_s=0.2)[0] == 0


def test_all_hosts_refusing_is_unreachable():
    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:1"):
        talk(lambda one: one.read("main"), word="etcd://127.0.0.1:1/p")


def test_a_user_logs_in_and_again_when_the_token_is_no_longer_valid():
    found, requests = talk(
        lambda one: one.read("main"),
        (200, {"token": "first"}),
        (401, {"error": "etcdserver: invalid auth token", "code": 16}),
        (200, {"token": "second"}),
        (200, ranges({}, {})),
        word="etcd://me:secret@{place}/p",
    )
    assert found == Cells(Cell(), Cell())
    assert [path for path, _, _ in requests] == [
        "/v3/auth/authenticate",
        "/v3/kv/txn",
        "/v3/auth/authenticate",
        "/v3/kv/txn",
    ]
    assert [token for _, _, token in requests] == ["", "first", "", "second"]
    assert requests[0][1] == {"name": "me", "password": "secret"}


@pytest.mark.parametrize("reply", [{}, {"token": 7}, {"token": "a\r\nb"}])
def test_a_log_in_without_a_token_is_refused(reply):
    with pytest.raises(StoreReplyError, match="token"):
        talk(lambda one: one.read("main"), (200, reply), word="etcd://me:secret@{place}/p")


def test_names_are_written_so_that_they_stay_in_their_folder():
    _, requests = talk(
        lambda one: one.read("../a/b"), (200, ranges({}, {})), word="etcd://{place}/p"
    )
    key = base64.b64decode(requests[0][1]["success"][0]["request_range"]["key"])
    assert key == b"/p/..%2Fa%2Fb/register"
