"""What the report alone shows of a campaign, read back from its artifacts."""
