"""Ways to call a kernel that only a GPU has."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

Way = Callable[[Callable[..., Tensor], dict[str, Any]], Tensor]

WAYS: Mapping[str, Way] = {}
"""Mode -> (function, arguments on the GPU) -> the result of calling the function in that way."""
