"""The checks of all operators."""

from collections.abc import Sequence

import kernels.conformance.checks.boxes as boxes
import kernels.conformance.checks.general as general
import kernels.conformance.checks.masks as masks
import kernels.conformance.checks.nms as nms
import kernels.conformance.checks.rois as rois
from kernels.conformance.check import Check
from kernels.op import operators, unknown

SPECIFIC: tuple[Check, ...] = (*rois.CHECKS, *boxes.CHECKS, *nms.CHECKS, *masks.CHECKS)
ORACLES = ("values", "certificate")
"""The check of an operator that compares with its definition: the general ones build on it."""


def checks_of(operator: str, names: Sequence[str] = ()) -> list[Check]:
    """The checks of an operator, the most telling first; only those named, if any are.

    Raises ValueError for an operator or check there is not.
    """
    if operator not in operators():
        raise ValueError(unknown(operator, operators(), "operator"))
    found = [check for check in SPECIFIC if operator in check.operators]
    oracle = next((check for check in found if check.name in ORACLES), None)
    if oracle is not None:
        found += general.checks_on(operator, oracle)
    every = {check.name: check for check in found}
    for name in names:
        if name not in every:
            raise ValueError(unknown(name, every, f"check of {operator}"))
    return [check for check in found if not names or check.name in names]
