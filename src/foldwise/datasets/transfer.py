"""One file from one source, a folder or an address, within bounds of time and size.

A file appears under its name only whole, with the declared SHA-256; what fails leaves the file
that was there as it was.
"""

import email.utils
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pooch
import requests
import urllib3
from tqdm import tqdm

from foldwise.core.config import File
from foldwise.datasets.prepared import unwritable

CHUNK = 1 << 16  # bytes
RETRIED = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may pass


@dataclass(frozen=True)
class Limits:
    """What bounds a download. Times are in seconds.

    Attributes:
        connect: until a connection stands.
        stall: without a single byte.
        patience: for all attempts at one address, besides `size / minimum_rate`.
        minimum_rate: bytes per second below which a download is given up.
        attempts: at one address, when it answers with a passing error or breaks off.
        connect_attempts: at one address, when no answer comes at all.
        backoff: before the second attempt; doubles with each, unless the server says how long.
        redirects: hops.
    """

    connect: float = 10.0
    stall: float = 20.0
    patience: float = 30.0
    minimum_rate: float = 100_000.0
    attempts: int = 4
    connect_attempts: int = 2
    backoff: float = 0.5
    redirects: int = 5

    def deadline(self, size: int) -> float:
        """The time.monotonic() by which a file of `size` bytes must be complete."""
        return time.monotonic() + self.patience + size / self.minimum_rate


class Unavailable(Exception):  # noqa: N818 - a finding, after which the next source is tried
    """A source did not give the file; the text says why."""


class Passing(Unavailable):
    """It may work in a moment. `wait`: as long as the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None, answered: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.answered = wait, answered


Writer = Callable[[str, str], None]  # from a source to a temporary file


def obtain(source: str, target: Path, file: File, limits: Limits) -> None:
    """Get `file` from an http(s) address or a path and put it at `target`.

    Raises:
        Unavailable: the source does not have it, or has something else.
        DataError: `target` cannot be written.
    """
    writer = _from_address if is_address(source) else _from_folder
    pooch.get_logger().setLevel("WARNING")

    def downloader(address: str, temporary: Any, _: object) -> None:
        writer(address, Path(temporary), file, limits)
        Path(temporary).chmod(0o644)  # pooch makes it readable by its owner alone

    try:
        pooch.retrieve(
            source,
            known_hash=f"sha256:{file.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=downloader,
        )
    except OSError as error:
        raise unwritable(target, error) from error


def is_address(source: str, *schemes: str) -> bool:
    """Whether a source is an address of these schemes (default: http, https), and not a path."""
    return urlsplit(source).scheme in (schemes or ("http", "https"))


# --- from a folder ----------------------------------------------------------------------------


def _from_folder(source: str, temporary: Path, file: File, limits: Limits) -> None:
    _keep(_contents(Path(source)), temporary, file, kind="a local file")


def _contents(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as reader:
            while chunk := reader.read(CHUNK):
                yield chunk
    except OSError as error:
        raise Unavailable(error.strerror or str(error)) from None


# --- from an address --------------------------------------------------------------------------


class _Session(requests.Session):
    """A session that leaves redirects to `_follow`: its own way reads their bodies unbounded."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def _from_address(address: str, temporary: Path, file: File, limits: Limits) -> None:
    """Try until it works, an error will not pass, or attempts or time run out."""
    deadline = limits.deadline(file.size)
    attempt = 1
    while True:
        try:
            return _attempt(address, temporary, file, limits, deadline)
        except Passing as reason:
            wait = limits.backoff * 2 ** (attempt - 1) if reason.wait is None else reason.wait
            allowed = limits.attempts if reason.answered else limits.connect_attempts
            if attempt >= allowed:
                raise Unavailable(f"{reason} ({attempt} attempts)") from None
            if time.monotonic() + wait > deadline:
                raise Unavailable(f"{reason}; no time for another attempt") from None
        time.sleep(wait)
        attempt += 1


def _attempt(address: str, temporary: Path, file: File, limits: Limits, deadline: float) -> None:
    with _Session() as session, _follow(session, address, limits) as response:
        _check_status(response)
        kind = response.headers.get("Content-Type", "no content type")
        announced = "Content-Length" in response.headers
        _keep(_body(response, deadline), temporary, file, kind, whole=announced)


def _follow(session: requests.Session, address: str, limits: Limits) -> requests.Response:
    for _ in range(limits.redirects + 1):
        response = _request(session, address, limits)
        if not response.is_redirect:
            return response
        response.close()
        address = redirected(address, response.headers["Location"])
    raise Unavailable(f"more than {limits.redirects} redirects")


def redirected(address: str, location: str) -> str:
    """The address to which `address` redirects with a Location header.

    Raises:
        Unavailable: it leads from https to http, or to something that is not a web address.
    """
    target = urljoin(address, location)
    if not is_address(target) or (is_address(address, "https") and not is_address(target, "https")):
        raise Unavailable(f"redirects to {target}: refused")
    return target


def _request(session: requests.Session, address: str, limits: Limits) -> requests.Response:
    headers = {"Accept-Encoding": "identity", "User-Agent": "foldwise"}
    timeout = (limits.connect, limits.stall)
    try:
        return session.get(address, headers=headers, timeout=timeout, stream=True)
    except requests.exceptions.SSLError as error:
        raise Unavailable(f"no trusted connection: {_root(error)}") from None
    except (requests.ConnectionError, requests.Timeout) as error:
        raise Passing(f"no answer: {_root(error)}", answered=False) from None
    except requests.RequestException as error:
        raise Unavailable(str(error)) from None


def _check_status(response: requests.Response) -> None:
    if response.status_code == 200:
        return
    reason = f"HTTP {response.status_code} {response.reason}"
    if response.status_code in RETRIED:
        raise Passing(reason, wait=retry_after(response.headers.get("Retry-After")))
    raise Unavailable(reason)


def retry_after(value: str | None) -> float | None:
    """The seconds that a Retry-After header asks for (RFC 9110, 10.2.3), or None."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _body(response: requests.Response, deadline: float) -> Iterator[bytes]:
    """The bytes as they come, so that a slow drip meets the deadline."""
    try:
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            if time.monotonic() > deadline:
                raise Unavailable("too slow: given up at the deadline")
            yield chunk
    except urllib3.exceptions.HTTPError as error:
        raise Passing(f"broke off: {_root(error)}") from None


def _root(error: BaseException) -> str:
    """The innermost reason, without the addresses of objects that wrap it."""
    reason = error.args[0] if error.args else error
    reason = getattr(reason, "reason", reason)
    text = str(reason) or type(error).__name__
    return text.split(">: ", 1)[-1].split("): ", 1)[-1]


# --- to disk ----------------------------------------------------------------------------------


def _keep(
    chunks: Iterator[bytes], temporary: Path, file: File, kind: str, whole: bool = True
) -> None:
    """Write chunks, at most the declared size, and check them. Not `whole`: may be cut short."""
    digest, size = hashlib.sha256(), 0
    with (
        temporary.open("wb") as writer,
        tqdm(total=file.size, unit="B", unit_scale=True, leave=False, disable=None) as bar,
    ):
        for chunk in chunks:
            size += len(chunk)
            if size > file.size:
                raise Unavailable(f"not the file: more than its {file.size:,} bytes ({kind})")
            digest.update(chunk)
            writer.write(chunk)
            bar.update(len(chunk))
        writer.flush()
        os.fsync(writer.fileno())
    _check(digest.hexdigest(), size, file, kind, whole)


def _check(found: str, size: int, file: File, kind: str, whole: bool) -> None:
    if found == file.sha256:
        return
    reason = (
        f"not the file: got {size:,} of {file.size:,} bytes ({kind}), "
        f"sha256 {found}, expected {file.sha256}"
    )
    raise Unavailable(reason) if whole or size == file.size else Passing(reason)
