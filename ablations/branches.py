"""Table 5: boxes, masks and keypoints, learned together or apart.

python -m ablations run branches             about 6 minutes on two CPU cores, with Shapes

The field is the whole network: rows differ in which heads they have. In the paper all are of
people; with Shapes they are of all eight classes, and keypoints are named points of each shape.
"""

from dataclasses import replace

from ablations.ablation import Ablation
from mrcnn.presets import R50_FPN_MASK_KEYPOINTS

BOTH = R50_FPN_MASK_KEYPOINTS.model
NAN = float("nan")

ABLATION = Ablation(
    title="Branches together or apart",
    question="Do boxes, masks and keypoints gain from being learned together?",
    source="He et al. 2017, Table 5",
    table="Table 5",
    baseline=R50_FPN_MASK_KEYPOINTS,
    field="model",
    values={
        "Faster R-CNN": replace(BOTH, mask_head=None, keypoint_head=None),
        "masks": replace(BOTH, keypoint_head=None),
        "keypoints": replace(BOTH, mask_head=None),
        "keypoints and masks": BOTH,
    },
    metrics=("box AP", "mask AP", "keypoint AP"),
    published={
        "Faster R-CNN": (52.5,),
        "masks": (53.6, 45.8),
        "keypoints": (50.7, NAN, 64.2),
        "keypoints and masks": (52.0, 45.1, 64.7),
    },
    published_on="COCO minival, people alone, ResNet-50-FPN, 90k steps",
    contrasts=(
        ("masks", "Faster R-CNN"),
        ("keypoints and masks", "keypoints"),
        ("keypoints", "Faster R-CNN"),
        ("keypoints and masks", "masks"),
    ),
)
