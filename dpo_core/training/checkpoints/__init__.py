"""What a killed round goes on from."""
