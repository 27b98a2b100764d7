"""A campaign on disk: where things lie, the ledger, the lock, finished steps."""
