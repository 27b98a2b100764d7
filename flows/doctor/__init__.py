"""`ratchet doctor`: whether a campaign would run here, and what to change before it does."""
