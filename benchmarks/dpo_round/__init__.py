"""One DPO round by Ratchet and by TRL on the same model and pairs, each in a process of its own."""
