"""The detector's time: whole, by stage, beside torchvision's; and what feeds it."""
