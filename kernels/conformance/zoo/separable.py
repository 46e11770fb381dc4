"""RoIAlign as two matrix products per image: the reference's weights, summed in another order.

On a map of h x w pixels a RoI costs O(c w (h + bins)) whatever its size; nothing is copied per RoI.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.roi_align.reference import max_of_bin, mean_of_bin, sample_weights


def roi_align(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    reduce: Literal["mean", "max"],
) -> Float[Tensor, "k c oh ow"]:
    """RoIAlign by the same weights as the reference, summed in another order.

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    if not len(rois):
        return features.new_zeros(0, features.shape[1], *output_size) + 0 * features.sum()
    wy, wx, used = sample_weights(
        features, rois, output_size, spatial_scale, sampling_ratio, aligned
    )
    image = rois[:, 0].long()
    order = image.argsort(stable=True)
    counts = torch.bincount(image, minlength=len(features)).tolist()

    def read(rows: Tensor, columns: Tensor) -> Tensor:
        groups = zip(features, rows[order].split(counts), columns[order].split(counts), strict=True)
        return torch.cat([_read(*group) for group in groups])[order.argsort()]

    if reduce == "mean":
        return read(mean_of_bin(wy, used[0]), mean_of_bin(wx, used[1]))
    if not sampling_ratio:
        fine = read(wy.flatten(1, 2), wx.flatten(1, 2))
        samples = fine.unflatten(2, (output_size[0], -1)).unflatten(4, (output_size[1], -1))
        return max_of_bin(samples, *used)
    places = [(i, j) for i in range(sampling_ratio) for j in range(sampling_ratio)]
    return torch.stack([read(wy[:, :, i], wx[:, :, j]) for i, j in places]).max(0).values


def _read(
    features: Float[Tensor, "c h w"], wy: Float[Tensor, "k p h"], wx: Float[Tensor, "k q w"]
) -> Float[Tensor, "k c p q"]:
    rows = torch.einsum("kph,chw->kpcw", wy, features)  # one product for all RoIs of the image
    return torch.einsum("kpcw,kqw->kcpq", rows, wx)
