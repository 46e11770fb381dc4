"""One mask for all classes, or one for each, with C4.

python -m ablations run class_agnostic       about 4 minutes on two CPU cores, with Shapes
"""

from ablations.ablation import Ablation
from mrcnn.presets import R50_C4

ABLATION = Ablation(
    title="Class-agnostic masks",
    question="Does a mask need to know the class of its object?",
    source="He et al. 2017, sec. 4.2, class-agnostic masks",
    table="Sec. 4.2, class-agnostic masks",
    baseline=R50_C4,
    field="model.class_agnostic_masks",
    values={"class-agnostic": True, "class-specific": False},
    published={"class-agnostic": (29.7,), "class-specific": (30.3,)},
    published_on="COCO minival, ResNet-50-C4, 160k steps",
    contrasts=(("class-specific", "class-agnostic"),),
    paired="the mask head's initial weights: its predictor has another number of masks",
)
