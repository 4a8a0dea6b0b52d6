"""The real brokers that other tests and tests/bench stand on: they start, answer, and are gone afterwards."""

import socket
from pathlib import Path

from brokers import redis_server


def test_a_redis_of_ones_own_answers_and_leaves_nothing_behind() -> None:
    with redis_server() as path:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"PING\r\n")
            assert client.recv(64) == b"+PONG\r\n"
    assert not Path(path).parent.exists()
