"""What every test can rely on: no telemetry, no address of a real store, a git identity."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabricate import Cache

NOT_OURS = ("MLFLOW_TRACKING_URI", "FOLDWISE_MIRROR", "FOLDWISE_WORKERS", "FOLDWISE_DEVICE")


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For this process and all that it starts; before any other fixture makes a repository."""
    # A shell ignores Ctrl-C for what it runs in the background, and so would all that is started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings: Path = tmp_path_factory.mktemp("git") / "config"
    settings.write_text("[user]\n\tname = Test\n\temail = test@example.org\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in NOT_OURS:
            patch.delenv(name, raising=False)
        for name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
            patch.setenv(name, "true")
        for name in [name for name in os.environ if name.startswith("GIT_")]:
            if name.endswith(("_DIR", "_INDEX_FILE", "_WORK_TREE")):
                patch.delenv(name)
        patch.setenv("GIT_CONFIG_GLOBAL", str(settings))
        patch.setenv("HOME", str(settings.parent))
        (settings.parent / ".gitconfig").write_text(settings.read_text())
        yield


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Projects with results, made once a session: see fabricate.py."""
    return Cache(tmp_path_factory.mktemp("fabricated"))
