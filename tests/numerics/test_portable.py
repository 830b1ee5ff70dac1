"""The same bits on every x86-64 machine with AVX2 and FMA, whatever the libraries choose."""

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import portable
import pytest
from numba import njit
from numba.core.registry import cpu_target

from foldwise.numerics import elementary, kernels

EXPECTED: dict[str, str] = json.loads(portable.EXPECTED.read_text())
WIDE = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
ENVIRONMENTS = {
    "without-fma": {  # no product is joined with a sum but by `fma`
        "NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "", "ATEN_CPU_CAPABILITY": "default",
        "OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
    },
    "target": {
        "FOLDWISE_TARGET": "x86-64-v3", "ATEN_CPU_CAPABILITY": "avx2",
        "OPENBLAS_CORETYPE": "Haswell", "OMP_NUM_THREADS": "1",
    },
    "avx512": {
        "NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": "+avx512f",
        "ATEN_CPU_CAPABILITY": "avx512", "OPENBLAS_CORETYPE": "SkylakeX",
    },
}  # fmt: skip


pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="promised for x86-64"
)


def test_the_digests_are_those_of_every_other_machine() -> None:
    """They change only with the code; then `python tests/numerics/portable.py --write`."""
    assert portable.digests() == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_processor_and_libraries_change_no_bit(name: str, tmp_path: Path) -> None:
    """Other instructions in a process of its own, as another machine would have them."""
    if name == "avx512" and not WIDE:
        pytest.skip("no AVX-512 here")
    environ = os.environ | ENVIRONMENTS[name] | {"NUMBA_CACHE_DIR": str(tmp_path)}
    environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, portable.__file__], env=environ, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == EXPECTED


# --- elementary functions ---------------------------------------------------------------------

Reference = Callable[[np.ndarray], np.ndarray]
REFERENCES: dict[str, tuple[Reference, float, float, float]] = {  # ulp in float32; from, to
    "exp": (np.exp, 1.5, -87.3, 88.7),
    "expm1": (np.expm1, 1.5, -20, 88.7),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 2.5, -80, 80),
    "tanh": (np.tanh, 2.5, -12, 12),
    "log": (np.log, 1.5, 1e-30, 1e30),
    "log1p": (np.log1p, 1.5, 0, 1),
    "erf": (np.vectorize(math.erf), 1.5, -5, 5),
}
NOT_A_NUMBER, INFINITE = float("nan"), float("inf")
ENDS = {
    "exp": [(INFINITE, INFINITE), (-INFINITE, 0), (89, INFINITE), (-87.4, 0), (0, 1)],
    "expm1": [(INFINITE, INFINITE), (-INFINITE, -1), (89, INFINITE), (-50, -1), (0, 0)],
    "sigmoid": [(INFINITE, 1), (-INFINITE, 0), (0, 0.5), (-90, 0)],
    "tanh": [(INFINITE, 1), (-INFINITE, -1), (0, 0), (50, 1)],
    "log": [(INFINITE, INFINITE), (0, -INFINITE), (1, 0), (-1, NOT_A_NUMBER)],
    "log1p": [(0, 0)],
    "erf": [(INFINITE, 1), (-INFINITE, -1), (0, 0), (9, 1)],
}


def apply(name: str, x: np.ndarray) -> np.ndarray:
    function = getattr(elementary, name)

    @njit
    def every(x: np.ndarray, y: np.ndarray) -> None:
        for i in range(len(x)):
            y[i] = function(x[i])

    y = np.empty_like(x)
    every(x, y)
    return y


@pytest.mark.parametrize("name", REFERENCES)
def test_elementary_functions_are_accurate(name: str) -> None:
    """In float32 by the unit in the last place, in float64 as good as the C library's."""
    reference, ulp, low, high = REFERENCES[name]
    random = np.random.default_rng(0)
    x = random.uniform(low, high, 20_000)
    x[::2] = np.clip(x[::2] * 10.0 ** random.uniform(-8, 0, 10_000), low, high)
    single = x.astype(np.float32)
    exact = reference(single.astype(np.float64))
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    assert (np.abs(apply(name, single) - exact) / unit).max() <= ulp
    np.testing.assert_allclose(apply(name, x), reference(x), rtol=2e-15, atol=1e-300)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", ENDS)
def test_elementary_functions_at_the_ends(name: str, kind: type) -> None:
    x, y = np.array(ENDS[name]).T.astype(kind)
    if kind is np.float64:  # whose ends lie further out
        x[(np.abs(x) > 80) & np.isfinite(x)] *= 10
    np.testing.assert_allclose(apply(name, np.append(x, kind(NOT_A_NUMBER)))[:-1], y, atol=1e-35)
    assert np.isnan(apply(name, np.array([NOT_A_NUMBER], kind)))


# --- padding ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "wide"), [(1, 16), (16, 16), (17, 32), (60, 64), (1024, 1040), (3072, 3088)]
)
def test_widths_are_padded(width: int, wide: int) -> None:
    assert kernels.padded(width) == wide
