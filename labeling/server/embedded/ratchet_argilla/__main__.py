"""The server's process: receive a request, then serve until stopped or the parent ends."""

import gc
import json
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
    os.umask(0o077)  # keep database, log and journal private
    # uvicorn raises its stop signal again; as an exception it allows an orderly end.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops this
    requests = parent.listen()
    parent.send(event="ready")
    request = Request(**json.loads(requests.get()))
    check_version(request.version)
    listening = open_socket(request)
    request.set_environment()
    gc.disable()  # imports stay alive; collecting among them takes a quarter of the start
    from .serving import serve

    serve(request, listening)


def open_socket(request: Request) -> socket.socket:
    """A listening socket, opened before the heavy imports so that a taken port fails at once.

    Raises Refused when the address cannot be listened on.
    """
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
    """Raise RuntimeError when another argilla-server is installed."""
    installed = version("argilla-server")
    if installed != wanted:
        raise RuntimeError(f"argilla-server {installed} is installed, but Ratchet needs {wanted}")


def run() -> int:
    """Run `main`; returns its exit code."""
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
    os._exit(code)  # everything is closed; tearing down thousands of modules takes a second
