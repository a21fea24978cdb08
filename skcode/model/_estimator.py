"""What may be read of a fitted estimator by what does not train."""

from __future__ import annotations

from typing import Protocol

from numpy.typing import ArrayLike

from skcode.columns import ColumnEncoder
from skcode.model._ensemble import Ensemble
from skcode.utils._typing import FloatArray


class FittedEstimator(Protocol):
    """What plotting and export read of a fitted estimator, whichever of the three it is.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode import ControlledODETransformer
    >>> from skcode.model import FittedEstimator
    >>> def depth(model: FittedEstimator) -> int:
    ...     return model.ensemble_.members[0].model.n_intervals
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> depth(ControlledODETransformer(n_intervals=3, random_state=0).fit(X))
    3
    """

    #: what predicts
    ensemble_: Ensemble
    #: what becomes of the columns of X
    encoder_: ColumnEncoder
    #: number of columns of X
    n_features_in_: int
    #: controls (M, d), with a leading axis where there are several members
    controls_: FloatArray
    #: name of the integrator
    integrator: str

    def trajectory(self, X: ArrayLike, member: int = 0) -> FloatArray:
        """States (M + 1, n, m) at the ends of the intervals."""
        ...
