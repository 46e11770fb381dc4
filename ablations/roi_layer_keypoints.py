"""Table 6: RoIPool and RoIAlign for keypoints, with FPN.

python -m ablations run roi_layer_keypoints  about 4 minutes on two CPU cores, with Shapes

People in the paper; with Shapes, named points of each shape.
"""

from ablations.ablation import Ablation
from mrcnn.presets import R50_FPN_KEYPOINTS
from mrcnn.roi_ops import RoIAlign, RoIPool

ABLATION = Ablation(
    title="RoIPool or RoIAlign for keypoints",
    question="Are keypoints, the finest of the tasks, the most sensitive to alignment?",
    source="He et al. 2017, Table 6",
    table="Table 6",
    baseline=R50_FPN_KEYPOINTS,
    field="model.roi_op",
    values={"RoIPool": RoIPool(), "RoIAlign": RoIAlign()},
    metrics=(
        *("keypoint AP", "keypoint AP50", "keypoint AP75"),
        *("keypoint AP medium", "keypoint AP large", "box AP"),
    ),
    published={
        "RoIPool": (59.8, 86.2, 66.7, 55.1, 67.4),
        "RoIAlign": (64.2, 86.6, 69.7, 58.7, 73.0),
    },
    published_on="COCO minival, people alone, ResNet-50-FPN, 90k steps",
    contrasts=(("RoIAlign", "RoIPool"),),
)
