"""Who says how good an answer is: rules, reward models, LLMs, several of them together."""
