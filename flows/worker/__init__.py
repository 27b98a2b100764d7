"""`ratchet worker`: runs submitted campaigns, which hold no process while people label."""
