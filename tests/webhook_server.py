"""A real endpoint for webhooks on 127.0.0.1, in threads, that answers as it is told to."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Posted:
    """One request: its path with the query, its headers in lower case, its body."""

    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[BaseHTTPRequestHandler, Posted], None]


def status(code: int, **headers: str) -> Answer:
    """Answer with this status; Retry_After is Retry-After."""

    def answer(handler: BaseHTTPRequestHandler, posted: Posted) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def hang_up(handler: BaseHTTPRequestHandler, posted: Posted) -> None:
    """No answer at all."""
    handler.close_connection = True


@dataclass
class Endpoint:
    """Where it is, what was posted, and how it answers: `answer`, or before that what `script` holds."""

    port: int
    answer: Answer = field(default_factory=lambda: status(204))
    posted: list[Posted] = field(default_factory=list)
    script: list[Answer] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?allow_private=1"

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        posted = Posted(handler.path, {name.lower(): value for name, value in handler.headers.items()}, body)
        with self.lock:
            self.posted.append(posted)
            answer = self.script.pop(0) if self.script else self.answer
        answer(handler, posted)


@contextmanager
def endpoint(certificate: Path | None = None) -> Iterator[Endpoint]:
    """It answers as long as the block lasts; over TLS where it has a certificate, with its key in the same file."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            found.take(self)

        def log_message(self, format: str, *args: object) -> None:
            """pytest's stderr is not for this."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Of a client that did not wait."""

    with Server(("127.0.0.1", 0), Handler) as server:
        found = Endpoint(server.server_address[1])
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
