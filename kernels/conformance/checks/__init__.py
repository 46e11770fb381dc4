"""The checks of all operators."""
