r"""Members that say something of their own, beside those that get a Gaussian process.

The flow of a pooled member is trained on the classes themselves, with a linear readout. Where
classes follow rules and rows are many it finds what regression on indicators only comes near to;
where they are noisy it errs elsewhere. Where ramps of the inputs were tried there are two kinds:
some carry the inputs and some their ramps, so that one kind knows what the processes cannot. What
those of a kind say together, l_j, joins the scores s_e of each process in a logarithmic pool of
opinions [1]_

.. math:: \log p_e = a\, s_e + \sum_j c_j\, l_j + \text{const}

with a number each by the likelihood of rows that are left out: of the process in closed form, and
of l_j since each pooled member is trained without a part of the rows, the same for one member of
each kind. Where that gains no more than chance would, all scores stay as they were.

References
----------
.. [1] C. Genest, J. V. Zidek, "Combining probability distributions: a critique and an annotated
   bibliography", Statistical Science 1, 1986.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize

from skcode.gaussian_process import significant_gain, smoothed
from skcode.model import ClassificationTarget
from skcode.training._member import Member
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import Array, FloatArray, IntArray

#: share of the rows that each pooled member leaves out
_SHARE = 0.2
#: rows that it leaves out at most
_MOST_ROWS = 1024
#: nats that the pool has to gain for each of its numbers: so many a number gains by chance (Akaike)
_LEAST_NATS = 1.0
#: standard errors that it has to gain otherwise: where hardly any row is wrong there are no nats
_ERRORS = 1.0
#: least probability, whose logarithm is finite
_LEAST = 1e-300
#: largest factor on scores
_LARGEST = 10.0


def draw_folds(n: int, n_pooled: int) -> tuple[IntArray, ...]:
    """Rows that each pooled member leaves out, in ascending order; no two share one."""
    size = min(int(_SHARE * n), _MOST_ROWS, n // max(n_pooled, 1))
    order = np.random.default_rng(0).choice(n, n_pooled * size, replace=False)
    return tuple(np.sort(fold) for fold in order.reshape(n_pooled, size))


def kinds_of(pooled: Sequence[Member]) -> list[list[Member]]:
    """Those that carry the inputs, and those that carry their ramps: as many of either kind."""
    plain = [member for member in pooled if member.model.input_map.is_plain]
    ramped = [member for member in pooled if not member.model.input_map.is_plain]
    return [kind for kind in (plain, ramped) if kind]


def opinions(
    kind: Sequence[Member], X: Array, folds: Sequence[IntArray], mapper: OrderedMap
) -> FloatArray:
    """Scores (q, K) of the rows of all folds, one after another, by members that left them out."""
    pairs = zip(kind, folds, strict=True)
    return np.concatenate([member.fitted.scores(X[fold], mapper) for member, fold in pairs])


def smoothed_losses(
    codes: IntArray, weight: FloatArray, target: ClassificationTarget
) -> Callable[[FloatArray], FloatArray]:
    """Log-losses (n,) of scores (E, n, K), as a function; no row is right for certain."""
    shares = smoothed(np.eye(len(target.classes))[codes], weight)

    def losses(scores: FloatArray) -> FloatArray:
        p = target.mean_probabilities(scores)
        loss: FloatArray = -np.einsum("ij,ij->i", shares, np.log(np.maximum(p, _LEAST)))
        return loss

    return losses


def weigh(
    scores: FloatArray,
    opinion: FloatArray,
    codes: IntArray,
    weight: FloatArray,
    target: ClassificationTarget,
) -> tuple[float, FloatArray]:
    """Factors a on the scores and c (J,) on the opinions; one and zeros where nothing is gained.

    Parameters
    ----------
    scores : ndarray of shape (E, q, K)
        Left-out scores of the members that have a process.
    opinion : ndarray of shape (J, q, K)
        Left-out scores of each kind of those that are pooled.
    codes : ndarray of shape (q,)
        Indices of the classes.
    weight : ndarray of shape (q,)
        Weights of the rows.
    target : ClassificationTarget
        What makes probabilities of scores.
    """
    before = np.zeros(1 + len(opinion))
    before[0] = 1
    # of fewer than five rows none are left out
    if not len(codes):
        return 1.0, before[1:]

    # where no row is wrong, the largest factors would be the best
    of_scores = smoothed_losses(codes, weight, target)

    def losses(factors: FloatArray) -> FloatArray:
        return of_scores(factors[0] * scores + np.tensordot(factors[1:], opinion, axes=1))

    # half of the scores, and half of the opinions, is a pool where both know as much
    found = minimize(
        lambda factors: float(weight @ losses(factors)) / float(weight.sum()),
        np.array([0.5] + [0.5 / len(opinion)] * len(opinion)),
        method="L-BFGS-B",
        bounds=[(0.0, _LARGEST)] * len(before),
    ).x
    gain = losses(before) - losses(found)
    nats = float(weight / weight.mean() @ gain)
    if nats > len(before) * _LEAST_NATS or significant_gain(gain, 0 * gain, weight, _ERRORS) > 0:
        return float(found[0]), found[1:]
    return 1.0, before[1:]
