"""From judgements to preferences, and how far their sources agree."""
