"""Normalisation after a convolution: which statistics it uses, and what of it is trained."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

AnyNorm = Literal["none", "batch", "group", "sync", "frozen"]
"""What stands after a convolution of the FPN, the RPN or a head; see `norm_layer`."""

TrunkNorm = Literal["frozen", "batch", "sync", "group", "eval"]
"""What stands after every convolution of a ResNet; see `norm_layer`."""

GROUPS = 32


def norm_layer(kind: AnyNorm | TrunkNorm, channels: int, eps: float = 1e-5) -> nn.Module:
    """The layer of a kind. All but "none" have weight and bias; all but "group" have statistics.

    "none"    the identity; the convolution before it has a bias (heads of every peer's v1)
    "frozen"  statistics and affine are constants: the paper, Detectron, detectron2, torchvision
    "eval"    statistics are constants, the affine is trained: mmdetection's trunks (norm_eval)
    "batch"   batch norm over the images of one process: torchvision v2's FPN and box head,
              Matterport with TRAIN_BN
    "sync"    batch norm over the images of all processes; with one process, and when not
              training, it is "batch": detectron2's SyncBN baselines, "new baselines" heads
    "group"   group norm in 32 groups; where 32 does not divide the channels, in the largest power
              of two that does: Detectron's and detectron2's GN baselines

    Source: Ioffe and Szegedy 2015; Wu and He 2018, "Group Normalization", Table 4; Peng et al.
    2018, "MegDet" (statistics of all processes).
    """
    if kind == "none":
        return nn.Identity()
    if kind == "group":
        return nn.GroupNorm(math.gcd(GROUPS, channels), channels, eps)
    kinds = {
        "frozen": FrozenBatchNorm2d,
        "batch": nn.BatchNorm2d,
        "sync": SyncBatchNorm,
        "eval": FixedStatistics,
    }
    made: nn.Module = kinds[kind](channels, eps=eps)
    return made


def convolution(
    before: int, after: int, size: int, norm: AnyNorm, *, stride: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size (but for `stride`), and its norm if there is one.

    Only a convolution without a norm has a bias, as in every peer. To be unpacked into an
    nn.Sequential, so that "none" leaves the numbers in parameter names as they are.
    """
    conv = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=norm == "none")
    return [conv] if norm == "none" else [conv, norm_layer(norm, after)]


class FixedStatistics(nn.Module):
    """Batch norm whose statistics never change and whose affine part is trained."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return F.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class SyncBatchNorm(nn.Module):
    """Batch norm over the images of all processes; parameters and buffers as nn.BatchNorm2d's.

    torch's own layer of that name refuses tensors on a CPU, where this one is tested.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if self.training:
            self.num_batches_tracked += 1
        alone = not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
        if alone or not self.training:
            statistics = self.running_mean, self.running_var
            affine = self.weight, self.bias
            return F.batch_norm(
                features, *statistics, *affine, self.training, self.momentum, self.eps
            )
        mean, variance = self._statistics(features.float())
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return features * scale[:, None, None].to(features.dtype) + shift[:, None, None].to(
            features.dtype
        )

    def _statistics(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel over all processes; the running ones follow them.

        The mean goes first: the mean of squares less the squared mean would lose digits.
        """
        count = features.new_tensor([features.numel() / features.shape[1]])
        total = all_reduce(torch.cat([features.sum((0, 2, 3)), count]))
        mean = total[:-1] / total[-1]
        spread = (features - mean[:, None, None]).square().sum((0, 2, 3))
        variance = all_reduce(spread) / total[-1]
        with torch.no_grad():
            unbiased = variance * total[-1] / (total[-1] - 1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        return mean, variance
