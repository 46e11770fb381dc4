"""res5 on every RoI of C4: on 7 x 7 bins, or on 14 x 14 with a stride of 2.

python -m ablations run res5                 about 4 minutes on two CPU cores, with Shapes

The paper's is the first, that of every implementation the second, which reads bins whose centres
lie a quarter of a 7 x 7 bin up and to the left. The stride stands in the 3 x 3 convolution here.
"""

from ablations.ablation import Ablation
from mrcnn.backbone import Res5
from mrcnn.presets import R50_C4

ABLATION = Ablation(
    title="res5 of C4",
    question="Are 14 x 14 bins and a stride of 2 what the paper's 7 x 7 bins are?",
    source="He et al. 2017, Fig. 4, caption; Detectron, issue 118: is similar",
    baseline=R50_C4,
    field="model.roi_trunk",
    values={"7 x 7, stride 1": Res5(), "14 x 14, stride 2": Res5(roi_size=14, stride=2)},
    published={},
    published_on="nothing: the paper has the first alone",
    contrasts=(("14 x 14, stride 2", "7 x 7, stride 1"),),
)
