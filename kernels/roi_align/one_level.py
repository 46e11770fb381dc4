"""RoIAlign by kernels for the levels of a pyramid, of which there is one."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from kernels.op import Backend


def one_level(many: Backend) -> Backend:
    """A backend of multilevel RoIAlign, which must take `levels=None`, for a single map."""

    def forward(features: Tensor, *, spatial_scale: float, **options: Any) -> Tensor:
        scales = [spatial_scale]
        return many.forward(features=[features], levels=None, spatial_scales=scales, **options)

    def backward(grad: Tensor, *, features: Tensor, spatial_scale: float, **options: Any) -> Any:
        assert many.backward is not None
        scales = [spatial_scale]
        given = {"features": [features], "levels": None, "spatial_scales": scales, **options}
        return many.backward(grad, **given)

    return replace(many, forward=forward, backward=backward)
