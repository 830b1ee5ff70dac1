"""Take turns on a store that several machines share: a tag that its owner keeps renewing.

A database file has a lock that the system lets go of when its holder dies; a server has nothing
of the kind. A tag is not atomic, so two may hold a lease in rare cases: what they then double,
`mirror` retires.
"""

import json
import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from foldwise.core.errors import TrackingError
from foldwise.tracking import server
from foldwise.tracking.place import SAFE, shown
from foldwise.tracking.store import LOCK_SECONDS, Store, tolerating

TAG = "foldwise.lease"  # of an experiment
SECONDS = 60.0  # that a lease holds without being renewed; longer than one run takes
PAUSE = 0.5  # longer than another takes from finding a lease free to writing its own
POLL = 1.0


@contextmanager
def held(store: Store, experiments: Iterable[str]) -> Iterator[Callable[[], None]]:
    """Hold experiments against other trackers; call what is given often, for it renews.

    A database file is held by its lock already.

    Raises:
        TrackingError: another `track` has been at work for too long, or has taken over because
            this one was not heard of for `SECONDS`.
    """
    if store.path is not None:
        yield lambda: None
        return
    lease = Lease(store.client, store.uri)
    try:
        for experiment in sorted(experiments):  # all in one order, lest two wait for each other
            lease.take(experiment)
        yield lease.renew
    finally:
        lease.release()


@dataclass(frozen=True)
class Claim:
    """What the tag says, as JSON; `until` in seconds since 1970, by the clock of its owner."""

    owner: str
    host: str
    process: int
    until: float

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    def is_over(self) -> bool:
        """Whether it has run out, or was made on this machine by a process that is dead."""
        if self.host != platform.node():
            return self.until < time.time()
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # there, but someone else's
        return self.until < time.time()


@dataclass
class Lease:
    """The claims of one `track`."""

    client: MlflowClient
    uri: str
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    _held: list[str] = field(default_factory=list)
    _renewed: float = 0.0

    def take(self, experiment: str) -> None:
        """Wait until an experiment is free, or its lease has run out, and hold it."""
        start = heard = time.monotonic()
        last = None
        waiting = False
        while True:
            found = self._read(experiment)
            now = time.monotonic()
            if found != last:  # by this clock as well: those of two machines may differ
                last, heard = found, now
            if found is None or found.is_over() or now - heard > SECONDS:
                self._write(experiment)
                time.sleep(PAUSE)
                if self._is_mine(self._read(experiment)):
                    break
                continue
            if now - start > LOCK_SECONDS:
                raise TrackingError(
                    f"{shown(self.uri)}: another `track` ({found}) has been at work for "
                    f"{LOCK_SECONDS // 60} minutes; {SAFE}"
                )
            if not waiting:
                print(  # noqa: T201
                    f"{shown(self.uri)}: another `track` ({found}) is at work, waiting "
                    f"(should it be dead, for at most {SECONDS:.0f} s)",
                    file=sys.stderr,
                )
            waiting = True
            self.renew()
            time.sleep(POLL)
        self._held.append(experiment)

    def renew(self) -> None:
        """Prolong what is held, where it is time to."""
        if time.monotonic() - self._renewed < SECONDS / 3:
            return
        for experiment in self._held:
            found = self._read(experiment)
            if found and not self._is_mine(found):
                raise TrackingError(
                    f"{shown(self.uri)}: another `track` ({found}) has taken over, as this one "
                    f"was not heard of for {SECONDS:.0f} s; {SAFE}"
                )
            self._write(experiment)

    def release(self) -> None:
        """Let others in at once; where the server is gone, the lease runs out."""
        with server.environment(server.IMPATIENCE), suppress(MlflowException):
            for experiment in self._held:
                if self._is_mine(self._read(experiment)):
                    self.client.delete_experiment_tag(experiment, TAG)

    def _is_mine(self, claim: Claim | None) -> bool:
        return claim is not None and claim.owner == self.owner

    def _read(self, experiment: str) -> Claim | None:
        text = self.client.get_experiment(experiment).tags.get(TAG, "")
        with suppress(ValueError, TypeError):  # written by another version, or by a person
            return Claim(**json.loads(text))
        return None

    def _write(self, experiment: str) -> None:
        claim = Claim(self.owner, platform.node(), os.getpid(), time.time() + SECONDS)
        with tolerating("BAD_REQUEST"):  # two made the tag at once; `take` reads it again
            self.client.set_experiment_tag(experiment, TAG, json.dumps(asdict(claim)))
        self._renewed = time.monotonic()
