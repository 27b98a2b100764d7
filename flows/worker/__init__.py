"""`ratchet worker`: campaigns that are handed over, and that hold no process while people label."""
