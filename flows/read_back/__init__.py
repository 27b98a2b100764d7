"""What steps wrote, read back as records."""
