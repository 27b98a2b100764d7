"""Which completions are compared, and which of these pairs people are asked about."""
