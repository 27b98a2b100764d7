"""Everyday requests with instructions that a program can verify, as IFEval has them.

Instructions are named and checked as in IFEval (Zhou et al. 2023, arXiv:2311.07911), by the package
if-verifiable; requests and wordings are written here. Extra `instructions`.
"""
