"""Who acts: the user of this machine, as the ledger names them."""

import getpass
import socket


def who() -> str:
    """`user@host`."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return f"unknown@{socket.gethostname()}"
