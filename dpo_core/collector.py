"""Faster imports: no garbage collection and no scikit-learn while model libraries are imported.

Imports create hundreds of thousands of objects that live as long as the process, and the collector
scans them again and again. Without it, importing torch and transformers takes 3.8 in place of 5.2
CPU-seconds (Python 3.11). Where scikit-learn is installed, transformers imports it, and with it
SciPy, for a way to generate that is not used here: 0.7 of 4.7 CPU-seconds.
"""

import gc
import sys

_UNUSED = "sklearn"


def begin_imports() -> None:
    """Disable garbage collection and hide scikit-learn."""
    gc.disable()
    sys.modules.setdefault(_UNUSED, None)  # type: ignore[arg-type]  # imports then fail


def end_imports() -> None:
    """Enable garbage collection for objects created from now on; scikit-learn is found again."""
    if sys.modules.get(_UNUSED) is None:
        sys.modules.pop(_UNUSED, None)
    gc.freeze()
    gc.enable()
