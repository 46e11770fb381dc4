"""Whether somebody's kernel computes the operator it claims to."""
