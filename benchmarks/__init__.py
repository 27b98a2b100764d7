"""What Ratchet costs: `python -m benchmarks.NAME`; results are dated pages beside this file."""
