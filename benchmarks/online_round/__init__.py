"""One round of a campaign and TRL's OnlineDPOTrainer: sample, judge by rule, train, both sides."""
