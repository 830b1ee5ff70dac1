"""One file from one source, a folder or an address, within bounds of time and size.

A file appears under its name only whole, with the declared SHA-256; what fails leaves the file
that was there as it was.

The attempts are counted here and not by `urllib3.Retry`: that sees only the headers, so a body
that breaks off needs a loop anyway, and it knows no deadline for all attempts together.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from foldwise.core import files
from foldwise.core.config import File

CHUNK = 1 << 16  # bytes
LONGEST = 200  # characters that are shown of what a server says
RETRIED = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may pass


@dataclass(frozen=True)
class Limits:
    """What bounds a download; times in seconds."""

    connect: float = 10.0  # until a connection stands
    stall: float = 20.0  # without a single byte
    patience: float = 30.0  # for all attempts at one address, besides size / minimum_rate
    minimum_rate: float = 100_000.0  # bytes per second below which a download is given up
    attempts: int = 4  # at one address that answers with a passing error, or breaks off
    connect_attempts: int = 2  # at one address that does not answer at all
    backoff: float = 0.5  # before the second attempt; doubles, unless the server says how long
    redirects: int = 5  # hops

    def deadline(self, size: int) -> float:
        """The time.monotonic() by which a file of `size` bytes must be complete."""
        return time.monotonic() + self.patience + size / self.minimum_rate


class Unavailable(Exception):  # noqa: N818 - no failure yet: the next source is tried
    """A source did not give the file; the text says why."""


class Passing(Unavailable):
    """It may work in a moment. `wait`: as long as the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None, answered: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.answered = wait, answered


def obtain(source: str, target: Path, file: File, limits: Limits) -> None:
    """Get `file` from an http(s) address or a path and put it at `target`.

    Raises:
        Unavailable: the source does not have it, or has something else.
        WriteError: `target` cannot be written.
    """
    if is_address(source):
        _from_address(source, target, file, limits)
    else:
        keep(_contents(Path(source)), target, file, kind="a local file")


def is_address(source: str, *schemes: str) -> bool:
    """Whether a source is an address of these schemes (default: http, https), and not a path."""
    try:
        return urlsplit(source).scheme in (schemes or ("http", "https"))
    except ValueError:  # "Invalid IPv6 URL"
        return False


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


def _from_address(address: str, target: Path, file: File, limits: Limits) -> None:
    """Try until it works, an error will not pass, or attempts or time run out."""
    deadline = limits.deadline(file.size)
    for attempt in count(1):
        try:
            with _Session() as session, _follow(session, address, limits) as response:
                _keep_body(response, target, file, deadline)
            return
        except Passing as reason:
            wait = limits.backoff * 2 ** (attempt - 1) if reason.wait is None else reason.wait
            allowed = limits.attempts if reason.answered else limits.connect_attempts
            if attempt >= allowed:
                raise Unavailable(f"{reason} ({attempt} attempts)") from None
            if time.monotonic() + wait > deadline:
                raise Unavailable(f"{reason}; no time for another attempt") from None
        time.sleep(wait)


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
    try:
        target = urljoin(address, location)
    except ValueError as error:
        raise Unavailable(f"redirects to what is no address ({error})") from None
    if not is_address(target) or (is_address(address, "https") and not is_address(target, "https")):
        raise Unavailable(f"redirects to {_short(target)}: refused")
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
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise Unavailable(_short(error)) from None  # an address that cannot be, mostly


def _keep_body(response: requests.Response, target: Path, file: File, deadline: float) -> None:
    if response.status_code != 200:
        reason = f"HTTP {response.status_code} {_short(response.reason)}"
        if response.status_code in RETRIED:
            raise Passing(reason, wait=retry_after(response.headers.get("Retry-After")))
        raise Unavailable(reason)
    kind = _short(response.headers.get("Content-Type", "no content type"))
    announced = "Content-Length" in response.headers
    keep(_body(response, deadline), target, file, kind, whole=announced)


def retry_after(value: str | None) -> float | None:
    """The seconds that a Retry-After header asks for (RFC 9110, 10.2.3), or None."""
    try:
        return None if value is None else urllib3.Retry().parse_retry_after(value)
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError, TypeError, IndexError):
        return None  # more than `parse_retry_after` and what it calls say that they raise


def _body(response: requests.Response, deadline: float) -> Iterator[bytes]:
    """The bytes as they come, so that a slow drip meets the deadline."""
    try:
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            if time.monotonic() > deadline:
                raise Unavailable("too slow: given up at the deadline")
            yield chunk
    except urllib3.exceptions.HTTPError as error:
        raise Passing(f"broke off: {_root(error)}") from None


def _short(text: object) -> str:
    """What a server says, as it can be shown: printable, and in one line."""
    shown = "".join(c if c.isprintable() else "?" for c in str(text))
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def _root(error: BaseException) -> str:
    """The innermost reason, without what wraps it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# --- to disk ----------------------------------------------------------------------------------


def keep(chunks: Iterator[bytes], target: Path, file: File, kind: str, whole: bool = True) -> None:
    """Write chunks, at most the declared size, and check them. Not `whole`: may be cut short."""
    digest, size = hashlib.sha256(), 0
    with (
        files.replacing(target) as writer,
        tqdm(total=file.size, unit="B", unit_scale=True, leave=False, disable=None) as bar,
    ):
        for chunk in chunks:
            size += len(chunk)
            if size > file.size:
                raise Unavailable(f"not the file: more than its {file.size:,} bytes ({kind})")
            digest.update(chunk)
            writer.write(chunk)
            bar.update(len(chunk))
        if digest.hexdigest() != file.sha256:
            reason = (
                f"not the file: got {size:,} of {file.size:,} bytes ({kind}), "
                f"sha256 {digest.hexdigest()}, expected {file.sha256}"
            )
            raise Unavailable(reason) if whole or size == file.size else Passing(reason)
