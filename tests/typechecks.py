"""The checker of types while tests run: beartype, once for each signature and when first called.

Of every function jaxtyping asks for two checks, of its arguments and of its result, and for a
function inside another it asks in each call of that other. beartype writes code for each check.
"""

from functools import cache
from typing import Any

from beartype import beartype


def once(function):
    """A check: `function` has a signature and no body, and is called with what is to be checked.

    Beside the result the second check has all arguments again. Their shapes are known from the
    first, so that they are not looked at twice.
    """
    if function.__annotations__.get("return") is not Any:
        function.__annotations__ = {
            name: hint for name, hint in function.__annotations__.items() if name == "return"
        }
    check = None

    def checked(*args, **kwargs):
        nonlocal check
        if check is None:
            check = written(Signature(function))
        return check(*args, **kwargs)

    return checked


@cache
def written(signature):
    """The check of the first function that had this signature, for all that have it."""
    return beartype(signature.function)


class Signature:
    """A function as far as its checks go; an annotation without a hash is like no other."""

    def __init__(self, function):
        self.function, code = function, function.__code__
        counts = code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount, code.co_flags
        defaults = len(function.__defaults__ or ()), *(function.__kwdefaults__ or ())
        hints = tuple(function.__annotations__.items())
        self.key = function.__module__, function.__qualname__, code.co_varnames, counts, defaults
        try:
            hash(hints)
            self.key = *self.key, hints
        except TypeError:
            self.key = *self.key, id(self)

    def __hash__(self):
        return hash(self.key)

    def __eq__(self, other):
        return self.key == other.key
