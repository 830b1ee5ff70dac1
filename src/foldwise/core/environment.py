"""What environment variables say, read once and typed, at the door of a command or a stage.

None of it decides a result, so none of it is in params.yaml: it never invalidates a stage.
"""

import difflib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, cast, get_args

from foldwise.core.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]
WORKERS, DEVICE, MIRROR = "FOLDWISE_WORKERS", "FOLDWISE_DEVICE", "FOLDWISE_MIRROR"
TARGET = "FOLDWISE_TARGET"
CHOICES = {DEVICE: get_args(Device), TARGET: ("native", "x86-64-v3")}  # the default first
VARIABLES = (WORKERS, DEVICE, MIRROR, TARGET)
TRACKING = "MLFLOW_TRACKING_URI"
TELEMETRY_OFF = {
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


@dataclass(frozen=True)
class Environment:
    """Where and on what foldwise runs."""

    workers: int = 1  # processes that train
    device: Device = "auto"  # takes a GPU where there is one
    mirror: str | None = None  # folder or address to try first; None where `data.mirror` decides
    tracking_uri: str = ""  # of an MLflow store; "" for the project's own
    experiment: str = ""  # the DVC experiment that is running
    baseline_rev: str = ""  # the commit that it started from
    mlflow: Mapping[str, str] = field(default_factory=dict)  # all of MLflow's own variables

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """What the variables say; ConfigError where one of ours has a bad value."""
        return cls(
            workers=_workers(variables),
            device=cast(Device, _choice(DEVICE, variables)),
            mirror=variables[MIRROR].strip() if MIRROR in variables else None,
            tracking_uri=variables.get(TRACKING, "").strip(),
            experiment=variables.get("DVC_EXP_NAME", ""),
            baseline_rev=variables.get("DVC_EXP_BASELINE_REV", ""),
            mlflow={name: value for name, value in variables.items() if name.startswith("MLFLOW_")},
        )


def problems(variables: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Variables with a bad value, or with a name that looks misspelt: a line for each."""
    for name in (WORKERS, *CHOICES):
        try:
            _workers(variables) if name == WORKERS else _choice(name, variables)
        except ConfigError as error:
            yield f"{error}; correct or unset it"
    for name in variables:
        meant = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.8)
        if name not in VARIABLES and meant:
            yield f"{name}: nothing reads this variable; did you mean {meant[0]}?"


def without_telemetry() -> None:
    """Keep DVC and MLflow from reporting their use; call it before they are imported."""
    os.environ.update(TELEMETRY_OFF)


def choose_target() -> None:
    """Have Numba compile for what FOLDWISE_TARGET says; call it before Numba is imported.

    "native" (the default) is this machine; "x86-64-v3" is any with AVX2 and FMA, without AVX-512.
    The speed differs, the results do not. Processes that are started here compile likewise.

    Raises:
        ConfigError: it says something else.
    """
    target = _choice(TARGET, os.environ)
    if target != "native":
        os.environ.update(NUMBA_CPU_NAME=target, NUMBA_CPU_FEATURES="")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _workers(variables: Mapping[str, str]) -> int:
    value = variables.get(WORKERS, "")
    if not value:
        return cores()
    if not re.fullmatch("[1-9][0-9]{,3}", value):
        raise ConfigError(f"{WORKERS}: '{value}' is not a whole number from 1 to 9999")
    return int(value)


def _choice(name: str, variables: Mapping[str, str]) -> str:
    value = variables.get(name, "") or CHOICES[name][0]
    if value not in CHOICES[name]:
        raise ConfigError(f"{name}: '{value}' is none of {', '.join(CHOICES[name])}")
    return value
