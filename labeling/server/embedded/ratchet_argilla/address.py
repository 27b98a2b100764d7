"""The socket to listen on, before anything heavy is imported: a taken port is told at once."""

import os
import socket

from .parent import Refused
from .request import Request

_BACKLOG = 2048


def listen(request: Request) -> socket.socket:
    """A socket that listens there. Raises Refused where none can."""
    family = socket.AF_INET6 if ":" in request.host else socket.AF_INET
    try:
        return socket.create_server((request.host, request.port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number and number > 0 else error
        raise Refused(
            f"cannot listen on {request.host}, port {request.port}: {reason}",
            "Choose another port with --port, or another address with --host.",
        ) from None
