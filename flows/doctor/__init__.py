"""`ratchet doctor`: would a campaign run here, and what would be better changed before it does."""
