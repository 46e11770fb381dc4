"""Weights of other implementations: read without trusting them, renamed by tables, and back."""
