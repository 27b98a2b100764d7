"""What a round measures while it trains: curves, speed, warnings."""
