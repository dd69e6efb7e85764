"""Programs that keep their work in Redis do it with ours.

rq, dramatiq, celery and Django's cache; BullMQ, ioredis and node-redis; ruby-redis, phpredis and a
program on libhiredis (these six in the folder `programs`). Each runs as a process of its own and
ends with exit code 0 when its work came out right. `make programs` installs what they need; what is
not installed is skipped.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.processes import OURS, Process

pytestmark = [pytest.mark.integration]

SECONDS_MAX = 120
PROGRAMS = Path(__file__).parent / "programs"
#: Where `make programs` has npm install what package.json names.
NODE_PACKAGES = Path(__file__).parents[2] / ".venv" / "programs" / "node_modules"

RQ = """
from redis import Redis
from rq import Queue, SimpleWorker
redis = Redis(port=PORT, db=1)
queue = Queue(connection=redis)
jobs = [queue.enqueue(pow, 2, number) for number in range(10)]
SimpleWorker([queue], connection=redis).work(burst=True, logging_level="ERROR")
for job in jobs:
    job.refresh()
assert [job.return_value() for job in jobs] == [2**number for number in range(10)]
"""

DRAMATIQ = """
import dramatiq
from dramatiq.brokers.redis import RedisBroker
broker = RedisBroker(port=PORT, db=2)
dramatiq.set_broker(broker)
seen = []

@dramatiq.actor(max_retries=1, min_backoff=10)
def work(number):
    seen.append(number)
    if number == 3 and seen.count(3) == 1:
        raise ValueError("once")

for number in range(10):
    work.send(number)
work.send_with_options(args=(99,), delay=100)
worker = dramatiq.Worker(broker, worker_timeout=100)
worker.start()
broker.join(work.queue_name, timeout=20000)
worker.join()
worker.stop()
assert sorted(seen) == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 99], seen
"""

CELERY = """
from celery import Celery, chord
from celery.contrib.testing.worker import start_worker
app = Celery("work", broker=f"redis://127.0.0.1:{PORT}/3", backend=f"redis://127.0.0.1:{PORT}/4")

@app.task
def add(one, two):
    return one + two

@app.task
def total(numbers):
    return sum(numbers)

with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False):
    assert add.delay(2, 3).get(timeout=20) == 5
    assert chord([add.s(number, 1) for number in range(5)])(total.s()).get(timeout=20) == 15
    assert add.apply_async((1, 1), countdown=1).get(timeout=20) == 2
"""

DJANGO = """
import django
from django.conf import settings
backend = "django.core.cache.backends.redis.RedisCache"
location = f"redis://127.0.0.1:{PORT}/5"
settings.configure(CACHES={"default": {"BACKEND": backend, "LOCATION": location}})
django.setup()
from django.core.cache import cache
cache.set("a", {"x": 1}, 30)
assert cache.get("a") == {"x": 1} and cache.add("a", 1) is False
cache.set_many({"b": 1, "c": 2})
assert cache.incr("b") == 2 and cache.touch("c", 5)
assert cache.get_many(["b", "c"]) == {"b": 2, "c": 2}
cache.clear()
assert cache.get("a") is None
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(OURS, tmp_path_factory.mktemp("programs") / "node", ['save ""'])
    process.start()
    yield process
    process.kill()


@pytest.mark.parametrize(
    ("package", "program"),
    [("rq", RQ), ("dramatiq", DRAMATIQ), ("celery", CELERY), ("django", DJANGO)],
    ids=["rq", "dramatiq", "celery", "django"],
)
def test_a_program_does_its_work(
    server: Process, package: str, program: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    script = tmp_path / "program.py"
    script.write_text(f"PORT = {server.port}\n{program}")
    run([sys.executable, str(script)], tmp_path, PYTHONPATH="")


def run(command: list[str], folder: Path, **environment: str) -> None:
    """Runs a program to its end, which has to be a good one."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def has(*command: str) -> bool:
    """Whether a command is there and ends well."""
    return (
        shutil.which(command[0]) is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize(
    ("package", "script"),
    [("bullmq", "bullmq.cjs"), ("ioredis", "ioredis.cjs"), ("redis", "node_redis.cjs")],
    ids=["bullmq", "ioredis", "node-redis"],
)
def test_a_program_on_node_does_its_work(
    server: Process, package: str, script: str, tmp_path: Path
) -> None:
    if not (has("node", "--version") and (NODE_PACKAGES / package).exists()):
        pytest.skip(f"node or {package} is not installed")
    command = ["node", str(PROGRAMS / script), str(server.port)]
    run(command, tmp_path, NODE_PATH=str(NODE_PACKAGES))


def test_ruby_redis_does_its_work(server: Process, tmp_path: Path) -> None:
    if not has("ruby", "-e", "require 'redis'"):
        pytest.skip("ruby-redis is not installed")
    run(["ruby", str(PROGRAMS / "ruby_redis.rb"), str(server.port)], tmp_path)


def test_phpredis_does_its_work(server: Process, tmp_path: Path) -> None:
    if not has("php", "-r", "exit(extension_loaded('redis') ? 0 : 1);"):
        pytest.skip("php-redis is not installed")
    run(["php", str(PROGRAMS / "phpredis.php"), str(server.port)], tmp_path)


def test_a_program_on_libhiredis_does_its_work(server: Process, tmp_path: Path) -> None:
    program = str(tmp_path / "program")
    if not has("cc", "-o", program, str(PROGRAMS / "hiredis.c"), "-lhiredis"):
        pytest.skip("libhiredis-dev or a C compiler is not installed")
    run([program, str(server.port)], tmp_path)
