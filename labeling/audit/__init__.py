"""Find faults in a round's preferences before training on them."""
