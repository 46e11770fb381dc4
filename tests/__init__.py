"""jaxtyping imports this package alone to find the checker of types that pyproject.toml names."""

from tests import typechecks

__all__ = ["typechecks"]
