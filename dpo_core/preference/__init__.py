"""The mathematics of one preference: log-probs of pairs, losses, metrics."""
