"""The server's process: hear what to serve, serve until told to stop or the parent is gone."""

import gc
import os
import signal
import socket
import sys
import traceback
from importlib.metadata import version

from . import parent
from .request import Request

_BACKLOG = 2048


def main() -> None:
    os.umask(0o077)  # database, log and journal are for nobody else's eyes
    # uvicorn raises the signal it stopped on again: as an exception, so that the rest is in order.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops this
    requests = parent.listen()
    parent.send(event="ready")
    request = Request(**requests.get())
    check_version(request.version)
    listening = open_socket(request)
    request.set_environment()
    gc.disable()  # what is imported stays: looking through it again and again is a quarter of it
    from .serving import serve

    serve(request, listening)


def open_socket(request: Request) -> socket.socket:
    """A socket that listens there. Raises Refused where none can."""
    family = socket.AF_INET6 if ":" in request.host else socket.AF_INET
    try:
        return socket.create_server((request.host, request.port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number and number > 0 else error
        raise parent.Refused(
            f"cannot listen on {request.host}, port {request.port}: {reason}",
            "Choose another port with --port, or another address with --host.",
        ) from None


def check_version(wanted: str) -> None:
    """Raises RuntimeError where another argilla-server is installed."""
    found = version("argilla-server")
    if found != wanted:
        raise RuntimeError(
            f"argilla-server {found} is not the {wanted} that Ratchet is written against"
        )


def run() -> int:
    """The exit code of `main`."""
    try:
        main()
    except SystemExit:
        return 0
    except parent.Refused as error:
        parent.send(event="error", kind="bad_input", message=str(error), remedy=error.remedy)
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    code = run()
    sys.stderr.flush()
    os._exit(code)  # everything is closed; taking thousands of modules apart would take a second
