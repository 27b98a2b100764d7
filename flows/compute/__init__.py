"""Jobs, and the processes that carry them out."""
