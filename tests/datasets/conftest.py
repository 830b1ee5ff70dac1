import hashlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from foldwise.core.config import File

Answer = Callable[[BaseHTTPRequestHandler, int], None]


class Web:
    """A server on loopback. `routes`: path -> what to do with the handler and the hit's number."""

    def __init__(self) -> None:
        self.routes: dict[str, Answer] = {}
        self.hits: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.stopped = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.hits[self.path] += 1
                web.headers.append(dict(self.headers))
                answer = web.routes.get(self.path, status(404))
                try:
                    answer(self, web.hits[self.path])
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client gave up, as it should

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.stopped.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


def status(code: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def body(content: bytes, length: int | None = -1, kind: str = "text/plain") -> Answer:
    """200 with `content`. `length`: what is announced (-1: the truth, None: nothing)."""

    def answer(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        if length is not None:
            handler.send_header("Content-Length", str(len(content) if length < 0 else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """The first answer to the first request, and so on; the last one from then on."""
    return lambda handler, hit: answers[min(hit, len(answers)) - 1](handler, hit)


class Tools:
    status = staticmethod(status)
    body = staticmethod(body)
    in_turn = staticmethod(in_turn)

    @staticmethod
    def file(content: bytes, path: str = "there/file.bin", url: str | None = None) -> File:
        digest = hashlib.sha256(content).hexdigest()
        return File(url=url, mirror_path=path, size=len(content), sha256=digest)


@pytest.fixture
def http() -> type[Tools]:
    return Tools


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No name resolves; the names that were asked for."""
    asked: list[str] = []

    def unknown(host: str, *args: object, **settings: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    return asked
