"""A campaign with every kind of step, disturbed at random moments, against an undisturbed one."""
