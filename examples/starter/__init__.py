"""What `ratchet init` copies: a config, prompts, a judge with its test, and what to do next."""
