"""What every test can rely on: no telemetry, no address of a real store, a git identity, a home.

All of it belongs to one process, so that pytest-xdist's workers share nothing. The fabricator's
cache is one per worker, too.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabricate import Cache
from hypothesis import HealthCheck, settings

from foldwise.core.environment import TELEMETRY_OFF

OURS = ("DVC_", "FOLDWISE_", "MLFLOW_")
OF_A_REPOSITORY = ("_DIR", "_INDEX_FILE", "_WORK_TREE")  # of git: set where a hook runs the tests
IDENTITY = "[user]\n\tname = Test\n\temail = test@example.org\n"

# A busy machine is no failure.
settings.register_profile("foldwise", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("foldwise")


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For this process and all that it starts; before any other fixture makes a repository."""
    # A shell ignores Ctrl-C for what it runs in the background, and so would all that is started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home: Path = tmp_path_factory.mktemp("home")
    identity = home / ".gitconfig"
    identity.write_text(IDENTITY)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            of_git = name.startswith("GIT_") and name.endswith(OF_A_REPOSITORY)
            if of_git or name.startswith((*OURS, "XDG_")):
                patch.delenv(name)
        for name, value in TELEMETRY_OFF.items():
            patch.setenv(name, value)
        patch.setenv("GIT_CONFIG_GLOBAL", str(identity))
        patch.setenv("HOME", str(home))
        yield


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Projects with results, made once a session: see fabricate.py."""
    return Cache(tmp_path_factory.mktemp("fabricated"))
