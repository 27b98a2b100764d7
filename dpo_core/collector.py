"""The garbage collector and a library that nothing needs, held back while others are imported.

Imports make hundreds of thousands of objects that live as long as the process, and the collector
goes through all of them again and again: a quarter of what the import of torch and transformers
took (5.2 and 3.8 CPU-seconds, Python 3.11). Where scikit-learn is installed, transformers imports
it, and with it SciPy, for one way to generate that is not used here: 0.7 of 4.7 CPU-seconds.
"""

import gc
import sys

_UNUSED = "sklearn"


def begin_imports() -> None:
    """From now on nothing is collected, and scikit-learn is not found."""
    gc.disable()
    sys.modules.setdefault(_UNUSED, None)  # type: ignore[arg-type]  # what says so to the import


def end_imports() -> None:
    """What is there now stays out of the collector's way; what comes after is collected."""
    if sys.modules.get(_UNUSED) is None:
        sys.modules.pop(_UNUSED, None)
    gc.freeze()
    gc.enable()
