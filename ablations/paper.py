"""What `python -m ablations run paper` runs: the paper's Table 2, and what stands below it."""

TABLES = ("backbones", "mask_loss", "roi_layer", "roi_layer_c5", "mask_head", "class_agnostic")
"""Names of ablations, in the paper's order."""
