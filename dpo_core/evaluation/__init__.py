"""Is a policy better than another: statistics, comparisons, the numbers of a round."""
