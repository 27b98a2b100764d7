"""GGUF files: their headers, and loading them as transformers models."""
