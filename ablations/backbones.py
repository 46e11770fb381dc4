"""Table 2a: C4 or a feature pyramid, on 50, 101 or grouped layers.

python -m ablations run backbones            about 16 minutes on two CPU cores, with Shapes

At the small scales the trunks are ours, of 2, 4 and 4 grouped blocks a stage. The field is the
whole network: C4 and FPN differ in anchors, heads and proposals as well. The paper trains ResNeXt
with one image per GPU at half the rate; here all rows are trained alike.
"""

from ablations.ablation import Ablation
from mrcnn.presets import R50_C4, R50_FPN, R101_C4, R101_FPN, X101_FPN

ABLATION = Ablation(
    title="Backbones",
    question="Do deeper trunks and feature pyramids help? Whole networks, all trained alike.",
    source="He et al. 2017, Table 2a",
    table="Table 2a",
    baseline=R50_C4,
    field="model",
    values={
        "ResNet-50-C4": R50_C4.model,
        "ResNet-101-C4": R101_C4.model,
        "ResNet-50-FPN": R50_FPN.model,
        "ResNet-101-FPN": R101_FPN.model,
        "ResNeXt-101-FPN": X101_FPN.model,
    },
    published={
        "ResNet-50-C4": (30.3, 51.2, 31.5),
        "ResNet-101-C4": (32.7, 54.2, 34.3),
        "ResNet-50-FPN": (33.6, 55.2, 35.3),
        "ResNet-101-FPN": (35.4, 57.3, 37.5),
        "ResNeXt-101-FPN": (36.7, 59.5, 38.9),
    },
    published_on="COCO minival, 160k steps; ResNeXt with half the batch at half the rate",
    contrasts=(
        ("ResNet-50-FPN", "ResNet-50-C4"),
        ("ResNet-101-FPN", "ResNet-101-C4"),
        ("ResNet-101-C4", "ResNet-50-C4"),
        ("ResNet-101-FPN", "ResNet-50-FPN"),
        ("ResNeXt-101-FPN", "ResNet-101-FPN"),
    ),
    paired="initial weights, pretrained ones included, are shared by rows of one trunk at most",
)
