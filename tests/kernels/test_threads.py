"""Numba's threads and PyTorch's: the first follow the second, and leave them alone."""

import subprocess
import sys

PROGRAM = """
import torch
torch.set_num_threads(1)
import kernels
maps, rois = torch.rand(1, 64, 64, 64), torch.tensor([[0.0, 1, 1, 30, 30]])
kernels.roi_align(maps, rois, output_size=7, spatial_scale=1.0, backend="numba")
import numba
print(torch.get_num_threads(), numba.get_num_threads())
"""


def test_numba_leaves_the_number_of_torch_threads_alone():
    """In a process of its own: Numba starts its threads once."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
