"""Tables of a campaign's metrics, by the question that they answer."""
