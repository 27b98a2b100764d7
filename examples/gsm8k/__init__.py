"""GSM8K with a verifiable judge: is the arithmetic that a solution shows right?

The data set (Cobbe et al. 2021, arXiv:2110.14168) writes every calculation of a solution twice:
in prose, and as a calculator annotation `<<48/2=24>>`. A model of two million parameters learns
that form but gets most of the numbers wrong, which leaves room for preferences to improve it.
"""
