"""Results over time, and where they changed."""
