"""Real brokers of one's own, as long as a block lasts: nothing of a Redis, RabbitMQ or NATS that runs on the machine is
used. Those that can be killed and started again keep what they hold in a folder.

Needs Debian's redis-server, rabbitmq-server and nats-server; `requires` says so where one is missing.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from pgbouncer import requires

RABBITMQ_BIN = "/usr/lib/rabbitmq/bin"
RABBITMQ_CONFIG = """
[{rabbit, [{tcp_listeners, [{"127.0.0.1", PORT}]}, {loopback_users, []}, {vm_memory_high_watermark, 0.2},
           {disk_free_limit, 50000000}]},
 {kernel, [{inet_dist_use_interface, {127, 0, 0, 1}}]}].
"""
NATS_CONFIG = """
host: 127.0.0.1, port: PORT
jetstream { store_dir: "FOLDER", max_mem: 32MB, max_file: 512MB }
authorization { users = [
  { user: app, password: "s3cret-word" },
  { user: narrow, password: "s3cret-word", permissions: { publish: ["$JS.API.>", "*.allowed"] } }
] }
"""


@dataclass
class Broker:
    """A broker in a process group of its own. `where` is a socket's path, or a port on 127.0.0.1."""

    name: str
    argv: list[str]
    folder: Path
    where: "str | int"
    environment: dict[str, str] | None = None
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """It answers when this returns."""
        with (self.folder / "output").open("a") as said:
            self._process = subprocess.Popen(
                self.argv, stdout=said, stderr=said, cwd=self.folder, env=self.environment, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{self.name} does not answer: {(self.folder / 'output').read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut would. Nothing of it is left when this returns, so that it can be started again."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(ProcessLookupError):
            for _ in range(200):
                os.killpg(self._process.pid, 0)
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def _answers(self) -> bool:
        if isinstance(self.where, str):
            return _answers(socket.AF_UNIX, self.where)
        return _answers(socket.AF_INET, ("127.0.0.1", self.where))


@contextmanager
def redis_server(*arguments: str) -> Iterator[str]:
    """The path of the Unix socket of a Redis without persistence; `arguments` are its own (`--appendonly yes`)."""
    with redis_broker(*arguments) as broker:
        yield str(broker.where)


@contextmanager
def redis_broker(*arguments: str) -> Iterator[Broker]:
    program = requires("redis-server")
    with _folder("redis") as folder:
        path = folder / "redis.sock"
        argv = [program, "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", "", *arguments]
        with _running(Broker("Redis", argv, folder, str(path))) as broker:
            yield broker


@contextmanager
def nats_server() -> Iterator[Broker]:
    """A NATS with JetStream in files, for the user app with the password s3cret-word; narrow, with the same one, may
    publish to little."""
    program = requires("nats-server")
    with _folder("nats") as folder:
        port = free_port()
        config = folder / "nats.conf"
        config.write_text(NATS_CONFIG.replace("PORT", str(port)).replace("FOLDER", str(folder / "data")))
        with _running(Broker("NATS", [program, "-c", str(config)], folder, port)) as broker:
            yield broker


@contextmanager
def rabbitmq_server() -> Iterator[int]:
    """The port on 127.0.0.1 of a RabbitMQ with the user guest."""
    with rabbitmq_broker() as broker:
        yield int(broker.where)


@contextmanager
def rabbitmq_broker() -> Iterator[Broker]:
    program = requires("rabbitmq-server", folder=RABBITMQ_BIN)
    with _folder("rabbitmq") as folder:
        port, names, peers = free_port(), free_port(), free_port()
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
        peer_names = [requires("epmd"), "-port", str(names), "-address", "127.0.0.1"]
        with _running(Broker("epmd", peer_names, folder, names, environment)):
            with _running(Broker("RabbitMQ", [program], folder, port, environment)) as broker:
                yield broker


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    folder = Path(mkdtemp(prefix=f"pgops-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(broker: Broker) -> Iterator[Broker]:
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


def _answers(family: int, address: "str | tuple[str, int]") -> bool:
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def free_port() -> int:
    """A port on 127.0.0.1 that nobody has, and that no connection is given for its own end: that one would keep a
    broker from coming back to it, and who knocks at it might meet himself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
