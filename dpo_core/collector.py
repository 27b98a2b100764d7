"""The garbage collector, held back while libraries are imported.

They make hundreds of thousands of objects that live as long as the process, and the collector goes
through all of them again and again: a quarter of what the import of torch and transformers took
(5.2 and 3.8 CPU-seconds, Python 3.11).
"""

import gc


def hold_back() -> None:
    """From now on nothing is collected."""
    gc.disable()


def let_go() -> None:
    """What is there now stays out of the collector's way; what comes after is collected."""
    gc.freeze()
    gc.enable()
