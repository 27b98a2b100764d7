"""The measurements of step `evaluation`, one file each."""
