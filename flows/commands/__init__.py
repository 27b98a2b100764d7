"""Commands of `ratchet`, registered in flows/cli.py."""
