"""The checks of the RoI operators, the most telling first."""

from kernels.conformance.check import Check
from kernels.conformance.checks import (
    crop_and_resize,
    deep,
    gradients,
    multilevel,
    roi_edges,
    roi_laws,
    roi_values,
)

CHECKS: tuple[Check, ...] = (
    *roi_values.CHECKS,
    *roi_laws.CHECKS,
    *roi_edges.CHECKS,
    *gradients.CHECKS,
    *multilevel.CHECKS,
    *crop_and_resize.CHECKS,
    *deep.CHECKS,
)
