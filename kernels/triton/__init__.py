"""What the operators' Triton kernels share; Triton itself is imported by the modules, when needed.

An operator's own kernels and what launches them are its `triton.py`.
"""
