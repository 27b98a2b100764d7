"""Whose policy goes on: after a round, by a person's word, in a campaign that begins as another."""
