"""`ratchet evaluate`: two models compared without a campaign."""
