"""Table 2d: RoIPool and RoIAlign on the coarsest map (C5), in masks and in boxes.

python -m ablations run roi_layer_c5         about 4 minutes on two CPU cores, with Shapes

The stride is 32 as in the paper, but 16 at the small scales, whose pictures are of 128 pixels.
"""

from ablations.ablation import Ablation
from mrcnn.presets import R50_C5
from mrcnn.roi_ops import RoIAlign, RoIPool

ABLATION = Ablation(
    title="RoIPool or RoIAlign on C5",
    question="Does rounding matter more where a feature pixel is larger, and for boxes too?",
    source="He et al. 2017, Table 2d",
    table="Table 2d",
    baseline=R50_C5,
    field="model.roi_op",
    values={"RoIPool": RoIPool(), "RoIAlign": RoIAlign()},
    published={
        "RoIPool": (23.6, 46.5, 21.6, 28.2, 52.7, 26.9),
        "RoIAlign": (30.9, 51.8, 32.1, 34.0, 55.3, 36.4),
    },
    published_on="COCO minival, ResNet-50-C5, stride 32, 160k steps",
    contrasts=(("RoIAlign", "RoIPool"),),
)
