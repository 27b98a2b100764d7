"""Ports of servers that Ratchet starts."""

import socket
from pathlib import Path

from flows.prefect.server import free_port


def test_a_free_port_is_none_that_an_outgoing_connection_gets() -> None:
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    found = {free_port() for _ in range(50)}
    assert len(found) > 40
    assert all(1024 < port < int(outgoing[0]) for port in found)
    for port in found:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
