"""Table 2e: a fully convolutional mask head, or fully connected layers, with FPN.

python -m ablations run mask_head            about 5 minutes on two CPU cores, with Shapes
"""

from ablations.ablation import Ablation
from mrcnn.mask_head import FCNMaskHead, MLPMaskHead
from mrcnn.presets import R50_FPN

ABLATION = Ablation(
    title="FCN or MLP mask head",
    question="Does a mask head that keeps the pixels' layout draw better masks?",
    source="He et al. 2017, Table 2e",
    table="Table 2e",
    baseline=R50_FPN,
    field="model.mask_head",
    values={
        "MLP, 2 layers": MLPMaskHead(widths=(1024, 1024)),
        "MLP, 3 layers": MLPMaskHead(widths=(1024, 1024, 1024)),
        "FCN": FCNMaskHead(),
    },
    published={
        "MLP, 2 layers": (31.5, 53.7, 32.8),
        "MLP, 3 layers": (31.5, 54.0, 32.6),
        "FCN": (33.6, 55.2, 35.3),
    },
    published_on="COCO minival, ResNet-50-FPN, 160k steps",
    contrasts=(("FCN", "MLP, 2 layers"), ("FCN", "MLP, 3 layers")),
    paired="the mask head as a whole, and so its initial weights",
)
