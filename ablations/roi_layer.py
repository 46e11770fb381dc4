"""Table 2c: RoIPool, RoIWarp and RoIAlign on a stride-16 (C4) map.

python -m ablations run roi_layer            about ten minutes on two CPU cores, with Shapes
python -m ablations run roi_layer --seeds 3  three times that, with intervals
"""

from ablations.ablation import Ablation
from mrcnn.presets import R50_C4
from mrcnn.roi_ops import RoIAlign, RoIPool, RoIWarp

ABLATION = Ablation(
    title="RoIPool, RoIWarp, RoIAlign",
    question="Does it matter that RoI coordinates are never rounded?",
    source="He et al. 2017, Table 2c",
    table="Table 2c",
    baseline=R50_C4,
    field="model.roi_op",
    values={
        "RoIPool, max": RoIPool(),
        "RoIWarp, max": RoIWarp(reduce="max"),
        "RoIWarp, mean": RoIWarp(reduce="mean"),
        "RoIAlign, max": RoIAlign(reduce="max"),
        "RoIAlign, mean": RoIAlign(reduce="mean"),
    },
    published={
        "RoIPool, max": (26.9, 48.8, 26.4),
        "RoIWarp, max": (27.2, 49.2, 27.1),
        "RoIWarp, mean": (27.1, 48.9, 27.1),
        "RoIAlign, max": (30.2, 51.0, 31.8),
        "RoIAlign, mean": (30.3, 51.2, 31.5),
    },
    published_on="COCO minival, ResNet-50-C4, stride 16, 160k steps",
    contrasts=(
        ("RoIAlign, mean", "RoIPool, max"),
        ("RoIAlign, mean", "RoIWarp, mean"),
        ("RoIWarp, mean", "RoIPool, max"),
        ("RoIAlign, mean", "RoIAlign, max"),
    ),
)
