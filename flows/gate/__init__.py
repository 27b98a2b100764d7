"""Whether a round's policy goes on, what happens if not, and when a campaign ends."""
