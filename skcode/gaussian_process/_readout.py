"""What a user writes for a readout by a Gaussian process."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from sklearn.base import BaseEstimator

from skcode.utils._doc_link import DocLinkMixin
from skcode.utils._sklearn import Interval


class GaussianProcessReadout(DocLinkMixin, BaseEstimator):
    r"""A readout with one more layer of frozen neurons, infinitely wide: a Gaussian process.

    .. math:: R(x) = b + w \cdot x + g(x), \quad w \sim N(0, c I), \quad
        g \sim GP(0, a_1 e^{-|x - x'|_1 / l_1} + a_2 e^{-|x - x'|_2 / l_2}
        + a_3 e^{-|x - x'|_2^2 / 2 l_3^2})

    on final states x = X_1. The flow is trained with a linear readout, and then on through the
    evidence of the process; amplitudes, lengths, c and the noise are those of highest evidence on
    some of the rows, and the process is fitted to all rows in closed form. In single precision
    there is no Gaussian part, whose large coefficients all but cancel. For classes the process is
    fitted to their indicators, and a softmax is calibrated on exact left-out predictions.

    Parameters
    ----------
    n_exact : int
        Rows up to which all of them are points of the process. More cost the cube of their number,
        and memory for its square: 450 MB for the default.
    n_leaf : int
        Where rows are more than `n_exact`, the process is exact within leaves of at most so many
        rows that lie near to each other.
    n_landmarks : int
        Rows that tell what the leaves share.
    n_local : int
        Rows that are in leaves; the others, where they are more, tell what leaves share.
    n_evidence : int
        Rows that the evidence of kernel and noise is computed on.
    n_steps : int or None
        Steps of Adam, on minibatches of 256 rows, that train the controls on through the evidence
        of the process; 0, as ``train_controls=False``, leaves them as they are, and so does
        evidence that the first steps do not raise by three nats. None stands for 60 from 700
        distinct rows on, and for 0 below, where they change little.
    n_pooled : int or None
        Of classes alone: members beside the others whose flows are trained on the classes
        themselves, with a linear readout. What they say is added to the log-odds of the processes,
        with a factor that suits rows they leave out, where it helps. Where a trial chose between
        inputs and ramps there are so many of either kind. None stands for two from 1,000 distinct
        rows on, where there are at most twenty classes. With fewer rows, of ten classes at most, it
        stands for a logistic regression on the inputs, which has a share of the weight where
        left-out rows gain from it.

    References
    ----------
    .. [1] C. E. Rasmussen, C. K. I. Williams, "Gaussian processes for machine learning", MIT Press,
       2006.
    .. [2] A. Geifman et al., "On the similarity between the Laplace and neural tangent kernels",
       NeurIPS 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skcode import ControlledODERegressor
    >>> from skcode.gaussian_process import GaussianProcessReadout
    >>> model = ControlledODERegressor(readout=GaussianProcessReadout(), random_state=0)
    >>> bool(model.fit(*load_diabetes(return_X_y=True)).kernel_[0].linear > 0)
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "n_exact": [Interval(Integral, 1, None, closed="left")],
        "n_leaf": [Interval(Integral, 2, None, closed="left")],
        "n_landmarks": [Interval(Integral, 1, None, closed="left")],
        "n_local": [Interval(Integral, 1, None, closed="left")],
        "n_evidence": [Interval(Integral, 2, None, closed="left")],
        "n_steps": [Interval(Integral, 0, None, closed="left"), None],
        "n_pooled": [Interval(Integral, 0, None, closed="left"), None],
    }

    def __init__(
        self,
        n_exact: int = 7500,
        n_leaf: int = 4096,
        n_landmarks: int = 512,
        n_local: int = 65536,
        n_evidence: int = 400,
        n_steps: int | None = None,
        n_pooled: int | None = None,
    ):
        self.n_exact = n_exact
        self.n_leaf = n_leaf
        self.n_landmarks = n_landmarks
        self.n_local = n_local
        self.n_evidence = n_evidence
        self.n_steps = n_steps
        self.n_pooled = n_pooled
