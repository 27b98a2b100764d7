"""The steps of a campaign, one file each: what a step depends on and how it is made."""
