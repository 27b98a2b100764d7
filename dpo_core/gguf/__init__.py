"""Models in GGUF files: what their headers say, and how they become models of transformers."""
