r"""A linear opinion on classes of few rows, beside those of the processes.

A process takes indicators of classes for numbers, of which a plain linear border is a poor one: a
step. Where few rows show such a border, a logistic regression on the inputs knows it better. Its
log-odds l join the scores s_e of each process in a logarithmic pool whose weights sum to one,

.. math:: \log p_e = (1 - c)\, s_e + c\, l + \text{const}

with c in [0, 1] by the likelihood of rows that are left out, and 0 unless that gains by more than
two standard errors. The regression is scikit-learn's, and its strength suits the same rows.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skcode.gaussian_process import significant_gain
from skcode.model import ClassificationTarget, FittedMember
from skcode.readouts import LinearReadout
from skcode.training._member import Member
from skcode.training._monitor import TrainingMonitor
from skcode.training._pool import smoothed_losses
from skcode.training._rows import Rows
from skcode.utils._typing import FloatArray, IntArray

#: distinct rows from which no linear opinion is asked for: more teach flows on the classes as much
_MOST_ROWS = 1000
#: classes up to which one is asked for: its time grows with them
_MOST_CLASSES = 10
#: parts of the rows, each of which is left out once
_N_FOLDS = 5
#: first inverse strength of the penalty, and the factor between those that are tried
_FIRST_STRENGTH = 1.0
_FACTOR = 10.0
#: inverse strengths in either direction at most
_MOST_TRIALS = 3
#: steps of a regression at most: far more than scaled inputs take
_MAX_ITER = 500
#: standard errors by which a pool has to be better
_ERRORS = 2.0
#: largest input: scaled ones are of size one
_LARGEST = 1e3
#: log-odds of a class that no row shows
_NEVER = -10.0


def may_have_linear_opinion(rows: Rows, target: ClassificationTarget) -> bool:
    """Whether a linear opinion is worth its time."""
    return len(rows.X) < _MOST_ROWS and len(target.classes) <= _MOST_CLASSES


def join_linear_opinion(
    member: Member, rows: Rows, scores: FloatArray, target: ClassificationTarget
) -> Member | None:
    """A member at rest with its share c, if left-out rows gain from it.

    Parameters
    ----------
    member : Member
        Another one, whose map of the inputs it has.
    rows : Rows
        The training rows.
    scores : ndarray of shape (E, n, K)
        Left-out scores of the members that have a process.
    target : ClassificationTarget
        What makes probabilities of scores.
    """
    z = _inputs(member, rows)
    # one penalty of all weights suits inputs of one size
    if not np.abs(z).max(initial=0.0) < _LARGEST:
        return None
    codes = target.strata(rows.y).astype(int)
    opinion, strength = _left_out(z, codes, rows.weight, target)
    share = _share(scores, opinion, codes, rows.weight, target)
    if share == 0:
        return None
    model = member.model
    m = model.fields.n_states
    readout = LinearReadout(m, opinion.shape[1], model.input_map.n_coordinates)
    weights, intercepts = _regression(z, codes, rows.weight, strength, target)
    A = np.zeros((len(weights), m))
    A[:, : z.shape[1]] = weights
    controls = np.zeros(member.fitted.controls.size)
    theta = np.concatenate([controls, A.ravel(), intercepts])
    fitted = FittedMember(replace(model, readout=readout), theta)
    return Member(fitted, TrainingMonitor(), share=share, at_rest=True)


def _inputs(member: Member, rows: Rows) -> FloatArray:
    input_map = member.model.input_map
    z: FloatArray = input_map(rows.X)[:, : input_map.n_coordinates].astype(np.float64)
    return z


def _left_out(
    z: FloatArray, codes: IntArray, weight: FloatArray, target: ClassificationTarget
) -> tuple[FloatArray, float]:
    """Scores (n, K) of each row by regressions without its part, and the best inverse strength."""
    # parts have as many rows of a class as any other
    fold = np.empty(len(codes), dtype=int)
    fold[np.argsort(codes, kind="stable")] = np.arange(len(codes)) % _N_FOLDS
    losses = smoothed_losses(codes, weight, target)

    def of_strength(strength: float) -> tuple[float, FloatArray]:
        scores = np.empty((len(codes), target.n_outputs))
        for k in range(_N_FOLDS):
            kept = fold != k
            weights, intercepts = _regression(z[kept], codes[kept], weight[kept], strength, target)
            scores[~kept] = z[~kept] @ weights.T + intercepts
        return float(weight @ losses(scores[None])), scores

    best, of_best = _FIRST_STRENGTH, of_strength(_FIRST_STRENGTH)
    for factor in (_FACTOR, 1 / _FACTOR):
        for _ in range(_MOST_TRIALS):
            tried = of_strength(best * factor)
            if tried[0] >= of_best[0]:
                break
            best, of_best = best * factor, tried
        if best > _FIRST_STRENGTH:
            break
    return of_best[1], best


def _regression(
    z: FloatArray,
    codes: IntArray,
    weight: FloatArray,
    strength: float,
    target: ClassificationTarget,
) -> tuple[FloatArray, FloatArray]:
    """Weights (K, p) and intercepts (K,) of the scores of all classes."""
    K = target.n_outputs
    weights, intercepts = np.zeros((K, z.shape[1])), np.full(K, _NEVER)
    present = np.unique(codes)
    if K == 1 and len(present) == 1:
        return weights, intercepts * (1 - 2 * present)
    if len(present) == 1:
        intercepts[present] = 0
        return weights, intercepts
    with warnings.catch_warnings():
        # on the way to separable classes the last digits do not count
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=strength, max_iter=_MAX_ITER).fit(
            z, codes, weight / weight.mean()
        )
    if K == 1:
        return fitted.coef_, fitted.intercept_
    if len(present) == 2:
        # of two classes it has one score, which is the difference of two
        half = 0.5 * np.array([[-1.0], [1.0]])
        weights[present], intercepts[present] = half @ fitted.coef_, half[:, 0] * fitted.intercept_
    else:
        weights[present], intercepts[present] = fitted.coef_, fitted.intercept_
    return weights, intercepts


def _share(
    scores: FloatArray,
    opinion: FloatArray,
    codes: IntArray,
    weight: FloatArray,
    target: ClassificationTarget,
) -> float:
    """The weight c of the opinion."""
    of_scores = smoothed_losses(codes, weight, target)

    def losses(share: float) -> FloatArray:
        return of_scores((1 - share) * scores + share * opinion)

    found = float(
        minimize_scalar(
            lambda share: float(weight @ losses(share)), bounds=(0.0, 1.0), method="bounded"
        ).x
    )
    gains = significant_gain(losses(0.0), losses(found), weight, _ERRORS) > 0
    return found if gains else 0.0
