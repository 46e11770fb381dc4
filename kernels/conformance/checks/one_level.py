"""Checks of roi_align, put to a level of multilevel_roi_align that all RoIs are on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kernels.conformance.call import Answer, Call, Mode, rounded
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import levels as drawn
from kernels.conformance.zoo import multilevel as zoo

SHARE = 0.4
"""Of the cases of a check of RoIAlign, how many it is tried on again here."""


@dataclass
class OneLevel:
    """A kernel of many levels, called as one of RoIAlign.

    pyramid   what it is given besides, its arguments by name; the map of `level` is replaced
    """

    call: Call
    pyramid: Mapping[str, Any]
    level: int

    def __call__(
        self,
        arguments: Mapping[str, Any],
        *,
        grad: Tensor | None = None,
        layout: str = "contiguous",
        mode: Mode = "eager",
    ) -> Answer:
        maps, scales = (list(self.pyramid[n]) for n in ("features", "spatial_scales"))
        maps[self.level] = arguments["features"]
        scales[self.level] = arguments["spatial_scale"]
        there = {n: arguments[n] for n in arguments if n != "spatial_scale"}
        there |= {"features": maps, "spatial_scales": scales}
        there["levels"] = torch.full((len(arguments["rois"]),), self.level)
        answer = self.call(there, grad=grad, layout=layout, mode=mode)
        mine = f"features[{self.level}]"
        found = {"features": answer.grads[mine]} if mine in answer.grads else {}
        return replace(answer, grads=found)


def on_one_level(check: Check) -> Check:
    """The check of RoIAlign as one of multilevel_roi_align, planted errors and all."""

    def run(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
        pyramid = rounded(case.arguments(), dtype)
        single, level = drawn.lowered(case)
        check.run(OneLevel(call, pyramid, level), single, dtype, drawn.as_align(kernel))

    def skipped(kernel: Kernel) -> str | None:
        if "spatial_scales" in kernel.domain:
            return "it is made for some pyramids only"
        return check.skipped(drawn.as_align(kernel))

    return replace(
        check,
        operators=(drawn.NAME,),
        cases=lambda kernel, dtype: drawn.raised_cases(check.cases(drawn.as_align(kernel), dtype)),
        run=run,
        skipped=skipped,
        wrong={name: zoo.level_by_level(wrong) for name, wrong in check.wrong.items()},
        exact=tuple(drawn.raised(case, 1, 2) for case in check.exact),
        examples=SHARE * check.examples,
        covers=None,
    )
