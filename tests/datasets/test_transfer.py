"""Faults 1-8 and 10 of a download, against a server on loopback."""

import email.utils
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from foldwise.core.errors import WriteError
from foldwise.datasets.transfer import Limits, Unavailable, obtain, redirected, retry_after

CONTENT = bytes(range(256)) * 1000  # several chunks
QUICK = Limits(patience=20, backoff=0.01)


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder / "file.bin"


@pytest.fixture
def file(http):
    return http.file(CONTENT)


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def fails(address: str, target: Path, file, limits: Limits = QUICK) -> str:
    with pytest.raises(Unavailable) as caught:
        obtain(address, target, file, limits)
    assert left(target) == []  # nothing half-written, no temporary file
    return str(caught.value)


def test_whole_file_arrives_and_can_be_read_by_all(web, http, target, file):
    web.routes["/f"] = http.body(CONTENT)
    obtain(f"{web.address}/f", target, file, QUICK)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.bin"]
    assert target.stat().st_mode & 0o777 == 0o644
    assert web.headers[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("length", [len(CONTENT), None], ids=["announced", "unannounced"])
def test_truncated_is_tried_again(web, http, target, file, length):
    cut = http.body(CONTENT[:100_000], length=length)
    web.routes["/f"] = http.in_turn(cut, cut, http.body(CONTENT))
    obtain(f"{web.address}/f", target, file, QUICK)
    assert target.read_bytes() == CONTENT
    assert web.hits["/f"] == 3


@pytest.mark.parametrize("length", [len(CONTENT), None], ids=["announced", "unannounced"])
def test_always_truncated_ends(web, http, target, file, length):
    web.routes["/f"] = http.body(CONTENT[:100_000], length=length)
    message = fails(f"{web.address}/f", target, file)
    assert web.hits["/f"] == QUICK.attempts
    assert "4 attempts" in message
    assert ("broke off" if length else file.sha256) in message


def test_wrong_checksum_shows_both_and_is_not_tried_again(web, http, target, file):
    wrong = CONTENT[:-1] + b"!"
    web.routes["/f"] = http.body(wrong)
    message = fails(f"{web.address}/f", target, file)
    assert file.sha256 in message
    assert http.file(wrong).sha256 in message
    assert web.hits["/f"] == 1


def test_login_page_is_named_by_its_content_type(web, http, target, file):
    web.routes["/f"] = http.body(b"<html>Sign in", kind="text/html; charset=utf-8")
    message = fails(f"{web.address}/f", target, file)
    assert "text/html" in message
    assert "13 of 256,000 bytes" in message
    assert web.hits["/f"] == 1


def test_more_than_declared_is_cut_off(web, http, target, file):
    def endless(handler, _):
        handler.send_response(200)
        handler.end_headers()
        while not web.stopped.is_set():
            handler.wfile.write(CONTENT)

    web.routes["/f"] = endless
    assert "more than its 256,000 bytes" in fails(f"{web.address}/f", target, file)


@pytest.mark.parametrize("code", [401, 403, 404, 410, 501])
def test_lasting_refusal_fails_at_once(web, http, target, file, code):
    web.routes["/f"] = http.status(code)
    assert f"HTTP {code}" in fails(f"{web.address}/f", target, file)
    assert web.hits["/f"] == 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_passing_error_then_ok(web, http, target, file, code):
    web.routes["/f"] = http.in_turn(http.status(code), http.body(CONTENT))
    obtain(f"{web.address}/f", target, file, QUICK)
    assert target.read_bytes() == CONTENT
    assert web.hits["/f"] == 2


def test_passing_error_that_stays_ends(web, http, target, file):
    web.routes["/f"] = http.status(503)
    assert "HTTP 503" in fails(f"{web.address}/f", target, file)
    assert web.hits["/f"] == QUICK.attempts


def test_retry_after_is_honoured(web, http, target, file):
    web.routes["/f"] = http.in_turn(http.status(503, Retry_After="1"), http.body(CONTENT))
    start = time.monotonic()
    obtain(f"{web.address}/f", target, file, QUICK)
    assert time.monotonic() - start >= 1.0


def test_retry_after_beyond_the_deadline_ends_at_once(web, http, target, file):
    web.routes["/f"] = http.status(503, Retry_After="3600")
    assert "no time" in fails(f"{web.address}/f", target, file)
    assert web.hits["/f"] == 1


ABSURD = [
    "9" * 5000,
    "-1",
    "²",
    "1e400",
    "Fri, 99 Foo 99999999999 99:99:99 +9999999",
    "Mon, 01 Jan 9999999999999 00:00:00 GMT",
    "Mon, 01 Jan -1 00:00:00 GMT",
    "\x00",
    "",
]


@pytest.mark.parametrize("value", ABSURD)
def test_an_absurd_retry_after_is_one_that_is_not_there(web, http, target, file, value):
    """Or one that is too long; in no case anything but a reason."""
    wait = retry_after(value)
    assert wait is None or wait >= 0
    if value.isascii() and value.isprintable():
        web.routes["/f"] = http.status(503, Retry_After=value)
        assert "HTTP 503" in fails(f"{web.address}/f", target, file)


@pytest.mark.parametrize(
    "location",
    [
        "http://[",
        "http://[::1",
        "http://127.0.0.1:99999999/",
        "http://127.0.0.1:port/",
        f"http://{'a' * 70}.example/",
        "http:///nothing",
        "http://.",
        "//",
        "/%",
        "f\xfcr:alle",
        "x" * 5000,
    ],
)
def test_an_absurd_redirect_is_a_reason_in_one_line(web, http, target, file, location):
    web.routes["/f"] = http.status(302, Location=location)
    message = fails(f"{web.address}/f", target, file)
    assert message.isprintable()
    assert len(message) < 500


def test_what_a_server_says_is_shown_in_part(web, http, target, file):
    web.routes["/f"] = http.body(b"no", kind="x" * 5000 + "\x1b[2J")
    message = fails(f"{web.address}/f", target, file)
    assert len(message) < 600
    assert message.isprintable()


def test_retry_after_forms():
    soon = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert retry_after(soon) == pytest.approx(100, abs=2)
    assert retry_after("7") == 7.0
    assert retry_after("Thu, 01 Jan 1998 00:00:00 GMT") == 0.0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_redirect_is_followed(web, http, target, file):
    web.routes["/a"] = http.status(302, Location="/f")
    web.routes["/f"] = http.body(CONTENT)
    obtain(f"{web.address}/a", target, file, QUICK)
    assert target.read_bytes() == CONTENT


def test_redirect_loop_ends_at_the_hop_limit(web, http, target, file):
    web.routes["/a"] = http.status(302, Location="/b")
    web.routes["/b"] = http.status(302, Location="/a")
    assert "more than 5 redirects" in fails(f"{web.address}/a", target, file)
    assert sum(web.hits.values()) == 6


def test_redirect_never_leaves_https():
    assert redirected("https://a.org/x", "/y") == "https://a.org/y"
    assert redirected("http://a.org/x", "https://b.org/y") == "https://b.org/y"
    with pytest.raises(Unavailable, match=r"http://b\.org/y: refused"):
        redirected("https://a.org/x", "http://b.org/y")
    with pytest.raises(Unavailable, match="refused"):
        redirected("https://a.org/x", "file:///etc/hostname")


def test_slow_drip_meets_the_deadline(web, target, file):
    def drip(handler, _):
        handler.send_response(200)
        handler.end_headers()
        for byte in CONTENT:
            handler.wfile.write(bytes([byte]))
            if web.stopped.wait(0.02):
                return

    web.routes["/f"] = drip
    limits = Limits(patience=0.5, minimum_rate=1e9)  # the whole file would take 85 minutes
    assert "too slow" in fails(f"{web.address}/f", target, file, limits)
    assert web.hits["/f"] == 1


def test_silence_ends(web, target, file):
    web.routes["/f"] = lambda handler, hit: web.stopped.wait(5)
    limits = Limits(stall=0.2, backoff=0.01)
    assert "timed out" in fails(f"{web.address}/f", target, file, limits)
    assert web.hits["/f"] == limits.connect_attempts


def test_nobody_listens_is_tried_twice_and_said_plainly(web, target, file):
    address = web.address
    web.close()
    message = fails(f"{address}/f", target, file)
    assert "Connection refused" in message
    assert "2 attempts" in message
    assert "object at 0x" not in message


def test_no_name_resolution_ends_after_two_attempts(target, file, offline):
    message = fails("https://host.org/f", target, file, Limits())
    assert "Name or service not known" in message
    assert len(offline) == 2


def test_local_copy(http, target, file, tmp_path):
    (tmp_path / "mirror.bin").write_bytes(CONTENT)
    obtain(str(tmp_path / "mirror.bin"), target, file, QUICK)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.bin"]


@pytest.mark.parametrize(
    "content", [CONTENT[:-1], CONTENT[:-1] + b"!", CONTENT + b"!"], ids=["short", "other", "long"]
)
def test_local_copy_of_something_else(target, file, tmp_path, content):
    (tmp_path / "mirror.bin").write_bytes(content)
    assert "not the file" in fails(str(tmp_path / "mirror.bin"), target, file)


def test_failure_leaves_the_file_that_was_there(web, http, target, file):
    target.write_bytes(b"old")
    web.routes["/f"] = http.body(b"x" * len(CONTENT))
    with pytest.raises(Unavailable):
        obtain(f"{web.address}/f", target, file, QUICK)
    assert target.read_bytes() == b"old"


def test_full_disk_leaves_the_file_that_was_there(web, http, target, file, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target.write_bytes(b"old")
    web.routes["/f"] = http.body(CONTENT)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left on device"):
        obtain(f"{web.address}/f", target, file, QUICK)
    assert target.read_bytes() == b"old"
    assert left(target) == ["file.bin"]


def test_two_at_once_never_mix(web, http, target, file):
    both = threading.Barrier(2, timeout=10)

    def halves(handler, hit):
        handler.send_response(200)
        handler.end_headers()
        content = CONTENT if hit == 1 else b"x" * len(CONTENT)
        for part in (content[:100_000], content[100_000:]):
            both.wait()
            handler.wfile.write(part)

    web.routes["/f"] = halves
    outcomes: list[str] = []

    def run() -> None:
        try:
            obtain(f"{web.address}/f", target, file, QUICK)
            outcomes.append("won")
        except Unavailable:
            outcomes.append("refused")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "won"]
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.bin"]


def test_kill_midway_leaves_no_file(web, http, target, file):
    halfway = threading.Event()

    def stall(handler, _):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT[:100_000])
        halfway.set()
        web.stopped.wait(60)

    web.routes["/f"] = stall
    code = (
        "import sys; from pathlib import Path; from foldwise.core.config import File;"
        "from foldwise.datasets.transfer import Limits, obtain;"
        "file = File(mirror_path='f', size=int(sys.argv[3]), sha256=sys.argv[4]);"
        "obtain(sys.argv[1], Path(sys.argv[2]), file, Limits())"
    )
    command = [sys.executable, "-c", code, f"{web.address}/f", str(target)]
    with subprocess.Popen([*command, str(file.size), file.sha256]) as process:
        assert halfway.wait(60)
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    web.routes["/f"] = http.body(CONTENT)
    obtain(f"{web.address}/f", target, file, QUICK)
    assert target.read_bytes() == CONTENT
