"""Time, measured so that it can be trusted: interleaved, checked, every sample kept."""
