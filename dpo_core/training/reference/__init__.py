"""The reference of a round and its log-probs."""
