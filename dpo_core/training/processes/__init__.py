"""Training one round with several processes."""
