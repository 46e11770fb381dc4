"""RoIAlign with half-pixel centres, or the legacy without, as Detectron and torchvision have it.

python -m ablations run half_pixel           about 4 minutes on two CPU cores, with Shapes

The legacy reads every RoI half a feature pixel down and to the right, always the same, so that a
network can learn to live with it. Mask targets keep their half pixel in both rows.
"""

from ablations.ablation import Ablation
from mrcnn.presets import R50_C4

ABLATION = Ablation(
    title="The half pixel of RoIAlign",
    question="Does a constant shift by half a feature pixel cost anything?",
    source="detectron2, layers/roi_align.py: aligned; the paper does not speak of it",
    baseline=R50_C4,
    field="model.roi_op.aligned",
    values={"legacy": False, "half-pixel centres": True},
    published={},
    published_on="nothing that compares",
    contrasts=(("half-pixel centres", "legacy"),),
)
