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
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from foldwise.errors import TrackingError
from foldwise.tracking import server
from foldwise.tracking.place import SAFE, shown
from foldwise.tracking.store import LOCK_SECONDS, Store

TAG = "foldwise.lease"  # of an experiment; JSON: owner, who, until
SECONDS = 30.0  # that a lease holds without being renewed
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


@dataclass
class Lease:
    """The leases of one process."""

    client: MlflowClient
    uri: str
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    _held: list[str] = field(default_factory=list)
    _renewed: float = 0.0

    def take(self, experiment: str) -> None:
        """Wait until an experiment is free, or its lease has run out, and hold it."""
        start = heard = time.monotonic()
        last: dict[str, Any] = {}
        waiting = False
        while True:
            found = self._read(experiment)
            now = time.monotonic()
            if found != last:  # by this clock too: those of two machines may differ
                last, heard = found, now
            if found.get("until", 0) < time.time() or now - heard > SECONDS:
                self._write(experiment)
                time.sleep(PAUSE)
                if self._read(experiment).get("owner") == self.owner:
                    break
            elif now - start > LOCK_SECONDS:
                raise TrackingError(
                    f"{shown(self.uri)}: another `track` ({found.get('who')}) has been at work "
                    f"for {LOCK_SECONDS // 60} minutes; {SAFE}"
                )
            else:
                if not waiting:
                    print(  # noqa: T201
                        f"{shown(self.uri)}: another `track` ({found.get('who')}) is at work, "
                        "waiting",
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
            if found.get("owner", self.owner) != self.owner:
                raise TrackingError(
                    f"{shown(self.uri)}: another `track` ({found.get('who')}) has taken over, as "
                    f"this one was not heard of for {SECONDS:.0f} s; {SAFE}"
                )
            self._write(experiment)

    def release(self) -> None:
        """Let others in at once; where the server is gone, the lease runs out."""
        with server.environment(server.IMPATIENCE), suppress(MlflowException):
            for experiment in self._held:
                if self._read(experiment).get("owner") == self.owner:
                    self.client.delete_experiment_tag(experiment, TAG)

    def _read(self, experiment: str) -> dict[str, Any]:
        """The lease of an experiment, {} where there is none."""
        text = self.client.get_experiment(experiment).tags.get(TAG, "")
        try:
            found = json.loads(text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, experiment: str) -> None:
        who = f"process {os.getpid()} on {platform.node()}"
        value = {"owner": self.owner, "who": who, "until": time.time() + SECONDS}
        self.client.set_experiment_tag(experiment, TAG, json.dumps(value))
        self._renewed = time.monotonic()
