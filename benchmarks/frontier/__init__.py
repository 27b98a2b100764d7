"""Does it align? Ways to spend the same labels and samples on the demo task, and where they end."""
