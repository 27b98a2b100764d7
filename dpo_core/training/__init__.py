"""The training process: warm start, reference pass, one DPO round."""
