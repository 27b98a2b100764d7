"""Import preferences from other tools, and export them for other tools."""
