"""The training process: warm start, reference pass and one DPO round."""
