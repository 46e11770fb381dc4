"""How the small mask of a detection becomes pixels: four ways, of the same trained network.

python -m ablations run paste_method         about 4 minutes on two CPU cores, with Shapes

Nothing here touches training, so that all rows are one network that is evaluated four times.
"""

from ablations.ablation import Ablation
from mrcnn.presets import R50_FPN

ABLATION = Ablation(
    title="Pasting masks",
    question="What does it cost to round a mask's box to whole pixels before pasting?",
    source="detectron2, layers/mask_ops.py, which reports about 0.5 AP more for exact pasting",
    baseline=R50_FPN,
    field="model.paste.method",
    values={
        "exact (detectron2)": "exact",
        "grown (torchvision)": "grown",
        "inclusive (Detectron)": "inclusive",
        "whole (Matterport)": "whole",
    },
    published={},
    published_on="nothing that compares: about 0.5 AP, of which networks is not said",
    contrasts=(
        ("exact (detectron2)", "grown (torchvision)"),
        ("exact (detectron2)", "inclusive (Detectron)"),
        ("exact (detectron2)", "whole (Matterport)"),
    ),
)
