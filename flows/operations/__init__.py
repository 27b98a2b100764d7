"""What a person does to a campaign."""
