"""What a round tells of itself."""
