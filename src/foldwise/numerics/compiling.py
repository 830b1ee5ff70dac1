"""How the learner's functions are compiled, and where what is compiled is kept."""

import hashlib
import importlib
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.registry import cpu_target


def _import_without_blas() -> None:
    """Numba's array functions, but not SciPy's BLAS, for which they look when imported.

    Nothing here uses it. It takes as long to load as all else that Numba needs, and has threads.
    """
    name = "scipy.linalg.cython_blas"
    if name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]  # not to be found
        try:
            importlib.import_module("numba.np.arraymath")
        finally:
            del sys.modules[name]


_import_without_blas()


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that others call, once per kinds of arguments and processor.

    What is compiled is kept beside the source, in `__pycache__`. Numba would take it for current
    as long as the function's own file is unchanged; here it is current as long as every file of
    this package is.
    """
    dispatcher = njit(nogil=True, error_model="numpy", cache=True)(function)
    dispatcher._cache = _Cache(function)
    return dispatcher


class _Cache(FunctionCache):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=_sources(),
        )

    def save_overload(self, *compiled: Any) -> None:
        """Keep it, if the disk has room; it is compiled again otherwise."""
        with suppress(OSError):
            super().save_overload(*compiled)


@cache
def _sources() -> str:
    """The digest of this package's files."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def warn_without_fma() -> None:
    """Warn where a product with a sum is not one instruction: the same bits, very slowly."""
    name, features = cpu_target.target_context.codegen().magic_tuple()[1:]
    if features and "+fma" not in features.split(","):
        warnings.warn(
            f"{name} has no fused multiply-add (FMA): training is some 70 times slower, with the "
            "same results",
            stacklevel=2,
        )
