"""Mask R-CNN in which every disputed choice is a value."""

import kernels

if not hasattr(kernels, "operators"):
    raise ImportError(
        f"`import kernels` finds {kernels.__file__}, which is not this project's package but one"
        " of the same name (Hugging Face's?): remove it from this environment, or use another one"
    )
