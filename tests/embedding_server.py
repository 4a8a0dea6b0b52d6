"""A real endpoint for embeddings on 127.0.0.1, in a thread, that answers as it is told to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pgops.services.embedders import HashingEmbedder

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@dataclass
class Endpoint:
    """Where it is, what was asked of it, and how it answers the next ones; then as it should."""

    url: str
    dimensions: int
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    script: list[Answer] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        self.asked.append(body)
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        if handler.path != "/v1/embeddings":
            said(404, {"error": {"message": f"no {handler.path}"}})(handler, body)
        elif self.script:
            self.script.pop(0)(handler, body)
        else:
            said(200, self.embedded(body["input"]))(handler, body)

    def embedded(self, texts: list[str]) -> dict[str, Any]:
        """What a good answer holds, the last text first."""
        vectors = HashingEmbedder(self.dimensions).embed(texts)
        data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        return {"object": "list", "data": data[::-1], "model": "m", "usage": {"total_tokens": 1}}


def said(status: int, content: object, **headers: str) -> Answer:
    """Answer with this JSON, or these bytes."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()

    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


@contextmanager
def endpoint(dimensions: int = 16) -> Iterator[Endpoint]:
    """An endpoint for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                there.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there = Endpoint(f"http://127.0.0.1:{server.server_port}/v1", dimensions)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield there
        finally:
            there.over.set()
            server.shutdown()
            thread.join()
