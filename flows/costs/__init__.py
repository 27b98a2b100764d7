"""What steps took, and what that costs."""
