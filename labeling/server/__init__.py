"""An Argilla server: embedded, or one that runs elsewhere.

    from labeling.server import add_user, running

    with running(Path("argilla")) as server:     # port 0: a free port
        server.access                            # url and api_key, for any client
        server.credentials                       # and the owner's username and password
        password = add_user(server.access, "ann")

Entering the context starts the server in seconds (about a minute the first time on a machine), and
leaving stops it; the folder keeps all data. `start` and `Server.stop` do the same without a
context, `Server.kill` ends it as a crash would, and another `start` on the same folder and port
continues. `find_access(folder)` gives access to a server that runs already: ARGILLA_API_URL and
ARGILLA_API_KEY if they are set, else the folder's credentials.

The server runs in a virtual environment of its own (`environment`). The code that runs there is
`embedded/`: it imports nothing of Ratchet, and nothing of Ratchet imports it.
"""

from labeling.server.credentials import DEFAULT_FOLDER, WORKSPACE, Access, Credentials, find_access
from labeling.server.process import Server, running, start
from labeling.server.users import add_user

__all__ = [
    "DEFAULT_FOLDER",
    "WORKSPACE",
    "Access",
    "Credentials",
    "Server",
    "add_user",
    "find_access",
    "running",
    "start",
]
