"""What is wrong with a round's preferences, found before they are trained on."""
