"""How many points does a bin need, and is their mean or their maximum taken?

python -m ablations run sample_points        about 9 minutes on two CPU cores, with Shapes

The paper: results are not sensitive to "how many points are sampled, as long as no quantization is
performed" (sec. 3), and in its first version that one point at the bin's centre is nearly as good.
It gives no numbers for either.
"""

from ablations.ablation import Ablation
from mrcnn.presets import R50_C4
from mrcnn.roi_ops import RoIAlign

ABLATION = Ablation(
    title="Sample points of RoIAlign",
    question="How many points does a bin of RoIAlign need, and does the maximum do as well?",
    source="He et al. 2017, sec. 3, RoIAlign: a claim without numbers",
    baseline=R50_C4,
    field="model.roi_op",
    values={
        "1 point": RoIAlign(sampling_ratio=1),
        "4, mean": RoIAlign(sampling_ratio=2),
        "4, max": RoIAlign(sampling_ratio=2, reduce="max"),
        "9, mean": RoIAlign(sampling_ratio=3),
        "9, max": RoIAlign(sampling_ratio=3, reduce="max"),
        "16, mean": RoIAlign(sampling_ratio=4),
        "16, max": RoIAlign(sampling_ratio=4, reduce="max"),
        "adaptive, mean": RoIAlign(sampling_ratio="adaptive"),
        "adaptive, max": RoIAlign(sampling_ratio="adaptive", reduce="max"),
    },
    published={},
    published_on="nothing: the paper gives no numbers",
    contrasts=(
        ("1 point", "4, mean"),
        ("9, mean", "4, mean"),
        ("16, mean", "4, mean"),
        ("adaptive, mean", "4, mean"),
        ("4, max", "4, mean"),
        ("9, max", "9, mean"),
        ("16, max", "16, mean"),
        ("adaptive, max", "adaptive, mean"),
    ),
)
