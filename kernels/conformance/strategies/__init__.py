"""Hypothesis strategies that draw cases of the operators."""
