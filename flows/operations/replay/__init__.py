"""A round computed once more from what the ledger recorded, and compared with it bit by bit."""
