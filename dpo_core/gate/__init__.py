"""Whether a policy is promoted, and when a campaign ends: pure functions of numbers."""
