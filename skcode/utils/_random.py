"""Random generators."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_generator(rng: Any) -> np.random.Generator:
    """Return a `numpy.random.Generator` for a Generator, a RandomState, a seed or None.

    A RandomState is advanced by one draw, so that two calls give two independent generators.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, np.random.RandomState):
        return np.random.default_rng(rng.randint(np.iinfo(np.int32).max))
    return np.random.default_rng(rng)
