"""Controlled sentiment on a grammar: a task that makes its own prompts, texts, model and judge.

In the spirit of the controlled sentiment generation of DPO (Rafailov et al. 2023,
arXiv:2305.18290, section 6.1), small enough for a laptop: prompts are the beginnings of short
reviews, the policy writes them to their end, and the judge likes positive, well-formed ones.
"""
