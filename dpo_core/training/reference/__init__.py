"""A round's reference and its log-probs."""
