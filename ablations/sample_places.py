"""Does it matter where in a bin the points lie, as long as nothing is rounded?

python -m ablations run sample_places        about 6 minutes on two CPU cores, with Shapes

The paper: results are "not sensitive to the exact sampling locations" (sec. 3), without numbers.
Drawn points lie anywhere in their bin, anew for each bin and step. RoIWarp's are as regular as
RoIAlign's, in a rounded RoI: what the claim excepts.
"""

from ablations.ablation import Ablation
from mrcnn.presets import R50_C4
from mrcnn.roi_ops import JitteredRoIAlign, RoIAlign, RoIWarp

ABLATION = Ablation(
    title="Sample locations of RoIAlign",
    question="Does it matter where in a bin the points lie, as long as nothing is rounded?",
    source="He et al. 2017, sec. 3, RoIAlign: a claim without numbers",
    baseline=R50_C4,
    field="model.roi_op",
    values={
        "4 regular": RoIAlign(),
        "4 drawn": JitteredRoIAlign(points=4),
        "1 in the centre": RoIAlign(sampling_ratio=1),
        "1 drawn": JitteredRoIAlign(points=1),
        "4 regular, RoI rounded": RoIWarp(),
    },
    published={},
    published_on="nothing: the paper gives no numbers",
    contrasts=(
        ("4 drawn", "4 regular"),
        ("1 drawn", "1 in the centre"),
        ("4 regular, RoI rounded", "4 regular"),
    ),
)
