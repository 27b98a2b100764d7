"""Tables of a campaign's numbers, by the question that they answer."""
