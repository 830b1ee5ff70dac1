"""What every test can rely on: no telemetry, no address of a real store, no device but the CPU."""

import pytest


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "FOLDWISE_MIRROR", "FOLDWISE_WORKERS", "FOLDWISE_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")
