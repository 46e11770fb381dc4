"""Table 3: what RoIAlign, and then training masks along with them, does for boxes.

python -m ablations run mask_branch          about 8 minutes on two CPU cores, with Shapes

The field is the whole network: rows differ in their RoI layer or their mask head. The paper takes
its first row from another paper (Lin et al. 2017), so that its +1.1 is no controlled pair; ours is.
The cost of the mask branch is in the columns of cost, for training and for evaluation.
"""

from dataclasses import replace

from ablations.ablation import Ablation
from mrcnn.presets import R101_FPN
from mrcnn.roi_ops import RoIPool

MASKED = R101_FPN.model
BOXES = replace(MASKED, mask_head=None)

ABLATION = Ablation(
    title="Boxes with and without a mask branch",
    question="Do boxes gain from RoIAlign, and from masks that are trained along with them?",
    source="He et al. 2017, Table 3; Faster R-CNN with FPN as published by Lin et al. 2017",
    table="Table 3",
    baseline=R101_FPN,
    field="model",
    values={
        "Faster R-CNN": replace(BOXES, roi_op=RoIPool()),
        "Faster R-CNN, RoIAlign": BOXES,
        "Mask R-CNN": MASKED,
    },
    metrics=("box AP", "box AP50", "box AP75", "box AP small", "box AP medium", "box AP large"),
    published={
        "Faster R-CNN": (36.2, 59.1, 39.0, 18.2, 39.0, 48.2),
        "Faster R-CNN, RoIAlign": (37.3, 59.6, 40.3, 19.8, 40.2, 48.8),
        "Mask R-CNN": (38.2, 60.3, 41.7, 20.1, 41.1, 50.2),
    },
    published_on="COCO test-dev, ResNet-101-FPN, 160k steps; the first row of another paper",
    contrasts=(
        ("Faster R-CNN, RoIAlign", "Faster R-CNN"),
        ("Mask R-CNN", "Faster R-CNN, RoIAlign"),
    ),
)
