"""Random generators."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

#: what `as_generator` makes a generator of
RandomSource: TypeAlias = np.random.Generator | np.random.RandomState | int | None


def as_generator(rng: RandomSource) -> np.random.Generator:
    """Return a `numpy.random.Generator` for a Generator, a RandomState, a seed or None.

    A RandomState is advanced by one draw, so that two calls give two independent generators.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, np.random.RandomState):
        return np.random.default_rng(rng.randint(np.iinfo(np.int32).max))
    return np.random.default_rng(rng)
