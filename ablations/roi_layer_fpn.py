"""RoIAlign or RoIPool with a feature pyramid, whose finer levels forgive more.

python -m ablations run roi_layer_fpn        about 4 minutes on two CPU cores, with Shapes
"""

from ablations.ablation import MASKS_AND_BOXES, Ablation
from mrcnn.presets import R50_FPN
from mrcnn.roi_ops import RoIAlign, RoIPool

ABLATION = Ablation(
    title="RoIPool or RoIAlign with FPN",
    question="Is there still something to gain from RoIAlign with finer, multi-level strides?",
    source="He et al. 2017, sec. 4.2, RoIAlign: gains of 1.5 mask AP and 0.5 box AP, no table",
    table="Sec. 4.2, RoIAlign with FPN",
    baseline=R50_FPN,
    field="model.roi_op",
    values={"RoIPool": RoIPool(), "RoIAlign": RoIAlign()},
    metrics=("mask AP", "box AP", *(m for m in MASKS_AND_BOXES if m not in ("mask AP", "box AP"))),
    published={},
    changes=(("RoIAlign", "RoIPool", (1.5, 0.5)),),
    published_on="COCO minival, FPN of a depth that is not said; the gains alone are published",
    contrasts=(("RoIAlign", "RoIPool"),),
)
