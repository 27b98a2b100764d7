"""Commands of `ratchet`, joined in flows/cli.py."""
