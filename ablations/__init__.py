"""Questions: each module named after one defines an ABLATION."""
