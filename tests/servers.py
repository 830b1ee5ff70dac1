"""A real tracking server, `mlflow server` on PostgreSQL with proxied artifacts, and its faults."""

import contextlib
import http.client
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg2
import requests

START_SECONDS = 300
SAFE = r"results in runs/ are safe, and `foldwise track` completes the mirror"
QUICK = {  # as patient as a test can be
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
USER = (b"someone", b"secret")
NO_DATABASE = (
    "PostgreSQL is not installed; on Debian: apt-get install postgresql, as .ci/run does for root"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- PostgreSQL -------------------------------------------------------------------------------


def postgresql() -> Path | None:
    """The folder of PostgreSQL's programs, which Debian does not put on the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    folders += [Path(found).resolve().parent] if found else []
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class Postgres:
    """A cluster of its own; reached by a socket in its folder, not by a port."""

    def __init__(self, programs: Path, folder: Path):
        self.folder, self._programs = folder, programs
        self._log = folder / "postgres.log"
        # It refuses to run as root; Debian's package makes a user for it.
        self._user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        else:
            self._user = {}
        command = ["initdb", "-D", "data", "-U", "foldwise", "-A", "trust", "-E", "UTF8", "-N"]
        assert self._run([*command, "--locale=C"]).wait(START_SECONDS) == 0, self._said()
        self.start()

    def _run(self, command: list[str]) -> "subprocess.Popen[bytes]":
        program, *arguments = command
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [self._programs / program, *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                **self._user,  # type: ignore[arg-type]
            )

    def start(self) -> None:
        quick = ("fsync=off", "full_page_writes=off")  # only a power cut would lose anything
        settings = [f"unix_socket_directories={self.folder}", "listen_addresses=", *quick]
        options = [part for setting in settings for part in ("-c", setting)]
        self._process = self._run(["postgres", "-D", "data", *options])
        wait_for(self._answers, lambda: self._process.poll() is not None, self._said)

    def restart(self) -> None:
        """As after a crash: whoever is connected is thrown out."""
        self.stop()
        self.start()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGQUIT)  # to it an immediate shutdown, children first
        self._process.wait(START_SECONDS)

    def create(self, name: str) -> str:
        """A new database; its address for SQLAlchemy."""
        with contextlib.closing(self._connect()) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg2://foldwise@/{name}?host={self.folder}"

    def _connect(self) -> Any:
        return psycopg2.connect(host=str(self.folder), user="foldwise", dbname="postgres")

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def _said(self) -> str:
        return self._log.read_text()[-3000:]


@contextlib.contextmanager
def running_postgres(programs: Path) -> Iterator[Postgres]:
    """In a folder that its user can reach, with a short path: that of a socket has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="fw-pg-") as folder:
        postgres = Postgres(programs, Path(folder))
        try:
            yield postgres
        finally:
            postgres.stop()


# --- mlflow server ----------------------------------------------------------------------------


class Server:
    """A `mlflow server` process that can be killed and started again."""

    def __init__(self, database: str, folder: Path):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._log = folder / "server.log"
        arguments = ["--backend-store-uri", database, "--serve-artifacts"]
        arguments += ["--artifacts-destination", str(folder / "artifacts")]
        arguments += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self._arguments = [*arguments, "--allowed-hosts", "127.0.0.1,127.0.0.1:*"]
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(
            target=mlflow_server, args=(self._arguments, self._log), daemon=True
        )
        self._process.start()
        try:
            wait_for(self._answers, self._has_ended, lambda: self._log.read_text()[-3000:])
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """At once."""
        self._process.kill()
        self._process.join(START_SECONDS)
        while self._answers():
            time.sleep(0.01)

    def _has_ended(self) -> bool:
        return not self._process.is_alive()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=5).ok
        except requests.RequestException:
            return False


def mlflow_server(arguments: list[str], log: Path) -> None:
    """`mlflow server` in this process, which may have imported MLflow already.

    The command starts uvicorn as a process of its own, which would import all of it again: ten
    seconds of CPU time. Everything else is as the command does it.
    """
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    import mlflow.cli
    import mlflow.server
    import uvicorn

    def run(command: list[str], extra_env: dict[str, str], **_: object) -> None:
        os.environ.update(extra_env)
        uvicorn.main(command[command.index("uvicorn") + 1 :])

    mlflow.server._exec_cmd = run
    mlflow.cli.cli(["server", *arguments])


def wait_for(
    answers: Callable[[], bool], has_ended: Callable[[], bool], said: Callable[[], str]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        assert not has_ended(), said()
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)


# --- faults -----------------------------------------------------------------------------------

Fault = Callable[["Handler"], None]
Plan = Callable[[int, str, str], Fault | None]


class Proxy(ThreadingHTTPServer):
    """Stands before a real server; does to each request what `plan` says.

    Attributes:
        plan: (how many requests there were, method, path) → a method of `Handler`; None forwards.
        seen: method and path of each request since `plan` was set.
    """

    daemon_threads = True

    def __init__(self, target: Server):
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = target
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.over = threading.Event()
        self._lock = threading.Lock()
        self.follow(lambda *_: None)

    def follow(self, plan: Plan) -> None:
        self.plan, self.seen = plan, []

    def next(self, method: str, path: str) -> Fault:
        with self._lock:
            self.seen.append((method, path.partition("?")[0]))
            number = len(self.seen)
        return self.plan(number, method, path) or Handler.forward


class Handler(BaseHTTPRequestHandler):
    """One connection; its methods are the faults."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer takes 40 ms
    server: Proxy

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.next(self.command, self.path)(self)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def forward(self) -> None:
        """No fault."""
        self._answer(*self._ask())

    def fail(self) -> None:
        """500, and the server never hears of it."""
        self._answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "out of order"}', {})

    def drop(self) -> None:
        """The connection breaks, and the server never hears of it."""
        self._cut()

    def busy(self) -> None:
        """503, and come again in an hour."""
        self._answer(503, b"", {"Retry-After": "3600"})

    def ask_who(self) -> None:
        """As a server with users, or a proxy before one, does."""
        if self.headers.get("Authorization") == f"Basic {b64encode(b':'.join(USER)).decode()}":
            self.forward()
        else:
            self._answer(401, b"You are not authenticated.", {})

    def forbid(self) -> None:
        self._answer(403, b"Permission denied", {})

    def missing(self) -> None:
        """What a server of something else says."""
        self._answer(404, b"<html>Not here</html>", {})

    def login_page(self) -> None:
        self._answer(200, b"<html>Please log in</html>", {})

    def lose(self) -> None:
        """The server does it, but its answer is lost: the client asks again."""
        self._ask()
        self._cut()

    def halve(self) -> None:
        """The connection breaks in the middle of an upload."""
        self.body = self.body[: len(self.body) // 2]
        with contextlib.suppress(OSError, http.client.HTTPException):
            self._ask(timeout=0.2)
        self._cut()

    def drag(self) -> None:
        """The server does it, but the answer takes longer than the client waits."""
        answer = self._ask()
        self.server.over.wait(1.5)
        self._answer(*answer)

    def hang(self) -> None:
        """No answer, ever."""
        self.server.over.wait()
        self._cut()

    def drip(self) -> None:
        """A bit of an answer now and then, so that no time-out for one read ever strikes."""
        while not self.server.over.wait(0.1):
            self.wfile.write(b"HTTP/1.1"[:1])

    def _ask(self, timeout: float = 60) -> tuple[int, bytes, dict[str, str]]:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.server.target.port, timeout=timeout)
        ) as connection:
            headers = {**self.headers, "Connection": "close"}
            connection.request(self.command, self.path, self.body, headers)
            answer = connection.getresponse()
            kind = {"Content-Type": answer.headers.get("Content-Type", "text/plain")}
            return answer.status, answer.read(), kind

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def running_proxy(target: Server) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.over.set()
            proxy.shutdown()
            thread.join()
