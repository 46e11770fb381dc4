"""The gate: FASTER, SAME, SLOWER or UNSURE of a change; and the proof that it is right."""
