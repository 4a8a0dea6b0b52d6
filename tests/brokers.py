"""Real brokers of one's own, as long as a block lasts: nothing of a Redis or RabbitMQ that runs on the machine is used.

Needs Debian's redis-server and rabbitmq-server; `requires` says so where one is missing.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from pgbouncer import requires

RABBITMQ_BIN = "/usr/lib/rabbitmq/bin"
RABBITMQ_CONFIG = """
[{rabbit, [{tcp_listeners, [{"127.0.0.1", PORT}]}, {loopback_users, []}, {vm_memory_high_watermark, 0.2},
           {disk_free_limit, 50000000}]},
 {kernel, [{inet_dist_use_interface, {127, 0, 0, 1}}]}].
"""


@contextmanager
def redis_server(*arguments: str) -> Iterator[str]:
    """The path of the Unix socket of a Redis without persistence; `arguments` are its own (`--appendonly yes`)."""
    program = requires("redis-server")
    with _folder("redis") as folder:
        path = folder / "redis.sock"
        argv = [program, "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", "", *arguments]
        with _running(argv, folder):
            _await(lambda: _answers(socket.AF_UNIX, str(path)), "Redis", folder)
            yield str(path)


@contextmanager
def rabbitmq_server() -> Iterator[int]:
    """The port on 127.0.0.1 of a RabbitMQ with the user guest."""
    program = requires("rabbitmq-server", folder=RABBITMQ_BIN)
    with _folder("rabbitmq") as folder:
        port, names, peers = _free_port(), _free_port(), _free_port()
        (folder / "advanced.config").write_text(RABBITMQ_CONFIG.replace("PORT", str(port)))
        (folder / "enabled_plugins").write_text("[].")
        environment = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"pgops{port}@localhost",
            "RABBITMQ_DIST_PORT": str(peers),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        with _running([requires("epmd"), "-port", str(names), "-address", "127.0.0.1"], folder, environment):
            with _running([program], folder, environment):
                _await(lambda: _answers(socket.AF_INET, ("127.0.0.1", port)), "RabbitMQ", folder)
                yield port


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    folder = Path(mkdtemp(prefix=f"pgops-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(argv: list[str], folder: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    """A program in a process group of its own, all of which ends with the block."""
    with (folder / "output").open("a") as said:
        process = subprocess.Popen(argv, stdout=said, stderr=said, cwd=folder, env=environment, start_new_session=True)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(ready: Callable[[], bool], name: str, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} does not answer: {(folder / 'output').read_text()[-2000:]}")
        time.sleep(0.05)


def _answers(family: int, address: "str | tuple[str, int]") -> bool:
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
