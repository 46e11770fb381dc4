"""Table 2b: classes that compete for each mask pixel (softmax), or do not (sigmoid), with C4.

python -m ablations run mask_loss            about 4 minutes on two CPU cores, with Shapes
"""

from ablations.ablation import Ablation
from mrcnn.mask_head import SigmoidMaskLoss, SoftmaxMaskLoss
from mrcnn.presets import R50_C4

ABLATION = Ablation(
    title="Sigmoid or softmax masks",
    question="Should mask and class prediction be decoupled?",
    source="He et al. 2017, Table 2b",
    table="Table 2b",
    baseline=R50_C4,
    field="model.mask_loss",
    values={
        "softmax, p >= 1/2": SoftmaxMaskLoss(),
        "softmax, beats background": SoftmaxMaskLoss(decode="beats background"),
        "sigmoid": SigmoidMaskLoss(),
    },
    published={"softmax, p >= 1/2": (24.8, 44.1, 25.1), "sigmoid": (30.3, 51.2, 31.5)},
    published_on="COCO minival, ResNet-50-C4, 160k steps; how softmax was decoded is not said",
    contrasts=(
        ("sigmoid", "softmax, p >= 1/2"),
        ("sigmoid", "softmax, beats background"),
    ),
    paired="the mask head's initial weights: softmax has one channel more",
)
