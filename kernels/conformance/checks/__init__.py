"""The checks of all operators."""

from collections.abc import Sequence

import kernels.conformance.checks.boxes as boxes
import kernels.conformance.checks.general as general
import kernels.conformance.checks.machine as machine
import kernels.conformance.checks.masks as masks
import kernels.conformance.checks.nms as nms
import kernels.conformance.checks.rois as rois
from kernels.conformance.check import Check
from kernels.conformance.checks.deep import NAME as DEEP
from kernels.op import operators, unknown

SPECIFIC: tuple[Check, ...] = (*rois.CHECKS, *boxes.CHECKS, *nms.CHECKS, *masks.CHECKS)
ORACLES = ("values", "certificate")
"""The check of an operator that compares with its definition: the general ones build on it."""


def every_check(operator: str) -> dict[str, Check]:
    """The checks of an operator by name, the most telling first, with those that must be asked for.

    Raises ValueError for an operator there is not.
    """
    if operator not in operators():
        raise ValueError(unknown(operator, operators(), "operator"))
    found = [check for check in SPECIFIC if operator in check.operators]
    oracle = next((check for check in found if check.name in ORACLES), None)
    if oracle is not None:
        gradient = next((check for check in found if check.name == "gradient"), None)
        found += general.checks_on(operator, oracle)
        found += machine.checks_on(operator, oracle, gradient)
    return {check.name: check for check in found}


def checks_of(operator: str, names: Sequence[str] = ()) -> list[Check]:
    """The checks of an operator that are run, the most telling first; or those named.

    Raises ValueError for an operator or check there is not.
    """
    every = every_check(operator)
    for name in names:
        if name not in every:
            raise ValueError(unknown(name, every, f"check of {operator}"))
    return [check for n, check in every.items() if (n in names if names else n != DEEP)]
