"""Select the pairs of completions to compare, and the pairs that people label."""
