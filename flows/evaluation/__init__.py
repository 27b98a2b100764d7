"""What the step `evaluation` measures of a round's policy, one file each."""
