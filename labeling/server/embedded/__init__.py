"""Code for the server's own environment, which has argilla-server and nothing of Ratchet.

This folder is on the path there, and `python -m ratchet_argilla` starts the server.
"""
