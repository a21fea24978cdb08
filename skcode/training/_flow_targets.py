"""What flows are trained on, and what turns predictions of the process into scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from skcode.gaussian_process import AffineLink, Link, calibrate_sigmoids, calibrate_softmax
from skcode.model import ClassificationTarget, RegressionTarget, Target
from skcode.training._pool import draw_folds
from skcode.training._rows import Rows
from skcode.utils._blocks import block_slices
from skcode.utils._typing import Array, BoolArray, FloatArray, IntArray
from skcode.utils._views import entrywise

#: distinct rows below which every flow leaves out a part of its own: with more rows the few hundred
#: controls hardly learn a row by heart
_FEW_ROWS = 1000
#: rows that train the flow of a member, where there are more: they know a few hundred controls, and
#: the process sees all; rows times scores of a member that is pooled, which has a sweep for each
_MOST_FLOW_ROWS = 2**16
#: rows that least squares trains the flow of a member on where there are classes: half of them, and
#: so many at least. Indicators are mostly noise: all rows tell it no more, and members that see
#: other rows differ
_LEAST_FLOW_ROWS_OF_CLASSES = 2**11
#: and so many for each class, on average: a projection has to tell each from the others
_FLOW_ROWS_OF_A_CLASS = 64
#: outputs of a block: 8 MB
_BLOCK_ENTRIES = 2**20
#: least weight of a row, in units of the mean: rows of less say nothing, and their noise overflows
_LEAST_WEIGHT = 1e-12
#: least share of the variance of left-out predictions that is not between members
_LEAST_SIGNAL = 0.1


def outputs_of(target: Target, targets: Array) -> FloatArray:
    """What the process is fitted to (n, K): targets, or indicators of classes."""
    if isinstance(target, ClassificationTarget) and target.n_outputs > 1:
        indicators: FloatArray = (targets[:, None] == np.arange(target.n_outputs)).astype(float)
        return indicators
    outputs: FloatArray = np.asarray(targets, dtype=np.float64).reshape(len(targets), -1)
    return outputs


@dataclass(frozen=True)
class FlowTargets:
    """What the flow of each member is trained on.

    Parameters
    ----------
    target : Target
        What the estimator predicts.
    mean, scale : ndarray of shape (K,), float
        Weighted mean of the outputs, and the root of their mean square around it.
    folds : ndarray of shape (n,) or None
        Member whose flow leaves the row out; None where all rows train all flows.
    trains : bool
        Whether controls are trained at all.
    pool_folds : dict of int to ndarray
        Rows that each pooled member leaves out, by its number.
    """

    target: Target
    mean: FloatArray
    scale: float
    folds: IntArray | None
    trains: bool = True
    pool_folds: dict[int, IntArray] = field(default_factory=dict)

    @classmethod
    def learn(
        cls,
        target: Target,
        rows: Rows,
        n_members: int,
        trains: bool = True,
        n_pooled: int = 0,
        n_kinds: int = 1,
    ) -> FlowTargets:
        """From the training rows, which are in canonical order where they are few.

        Pooled members of a kind follow one another; those of each kind leave out the same folds.
        """
        mean, scale = _moments(target, rows)
        n = len(rows.y)
        folds = None
        if n_members > 1 and 2 * n_members <= n < _FEW_ROWS:
            strata = target.strata(rows.y)
            strata = np.zeros(n, dtype=int) if strata is None else strata
            # each member leaves out as many rows of a stratum as any other, and of all strata:
            # where every class has a row or two, the turn goes on from one class to the next
            folds = np.empty(n, dtype=int)
            folds[np.argsort(strata, kind="stable")] = np.arange(n) % n_members
        folds_of_kinds = draw_folds(n, n_pooled // n_kinds) * n_kinds
        pool_folds = dict(enumerate(folds_of_kinds, start=n_members))
        return cls(target, mean, scale, folds, trains, pool_folds)

    @property
    def single(self) -> RegressionTarget:
        """The target of a flow: one number, standardised already."""
        return RegressionTarget(np.zeros(1), np.ones(1), 1)

    def standardised(self, targets: Array) -> FloatArray:
        """Outputs (n, K) of mean zero and mean square one."""
        outputs: FloatArray = outputs_of(self.target, targets) - self.mean
        outputs /= self.scale
        return outputs

    def observations(self, rows: Rows, index: IntArray | slice = slice(None)) -> Rows:
        """All rows, or some, with standardised outputs (n, K), and weights with a mean of one."""
        mean = rows.weight.mean()
        weight = entrywise(lambda each: np.maximum(each / mean, _LEAST_WEIGHT), rows.weight[index])
        outputs = self.standardised(rows.y[index])
        return Rows(rows.X[index], outputs, weight, rows.counts[index])

    def observed(self, rows: Rows) -> Observed:
        """The same, made of those rows that are asked for."""
        return Observed(rows, self)

    def projected(self, rows: Rows, projection: FloatArray) -> Rows:
        """Rows with one output each."""
        return rows._replace(y=self.standardised(rows.y) @ projection[:, None])

    def of_member(self, rows: Rows, projection: FloatArray, number: int) -> Rows:
        """Rows that the flow of a member is trained on."""
        n = len(rows.X)
        most = _MOST_FLOW_ROWS
        if isinstance(self.target, ClassificationTarget):
            of_each = _FLOW_ROWS_OF_A_CLASS * len(self.target.classes)
            most = min(most, max(n // 2, _LEAST_FLOW_ROWS_OF_CLASSES, of_each))
        if n > most:
            return self.projected(_some(rows, np.arange(n), number, most), projection)
        evened = entrywise(lambda each: each * _evening(rows.weight), rows.weight)
        rows = self.projected(rows._replace(weight=evened), projection)
        if self.folds is None:
            return rows
        kept = self.folds != number
        return rows.some(kept)

    def of_pooled_member(self, rows: Rows, number: int) -> Rows:
        """Rows that the flow of a pooled member is trained on: those outside of its fold."""
        kept = np.ones(len(rows.X), dtype=bool)
        kept[self.pool_folds[number]] = False
        most = _MOST_FLOW_ROWS // self.target.n_outputs
        return _some(rows, np.flatnonzero(kept), number, most)


@dataclass(frozen=True)
class Observed:
    """Rows as a process sees them, whose outputs (n, K) are made for those that are asked for.

    Indicators of all would take K times as much as the targets of the rows.
    """

    rows: Rows
    flow_targets: FlowTargets
    #: which of the rows, in ascending order; None for all
    index: IntArray | None = None

    def __len__(self) -> int:
        return len(self.rows.y) if self.index is None else len(self.index)

    def among(self, kept: BoolArray) -> Observed:
        """Those of a mask (n,) of all rows."""
        return replace(self, index=np.flatnonzero(kept))

    def some(self, index: IntArray | slice) -> Rows:
        """Those of an index, with standardised outputs and weights of mean one."""
        return self.flow_targets.observations(
            self.rows, index if self.index is None else self.index[index]
        )


def _moments(target: Target, rows: Rows) -> tuple[FloatArray, float]:
    """Mean (K,) of the outputs, and the root of their mean square around it; one if that is zero.

    Outputs are made block by block, as those of many classes take far more than their rows.
    """
    total = rows.weight.sum()
    first = outputs_of(target, rows.y[:1])[0]
    blocks = block_slices(len(rows.y), max(_BLOCK_ENTRIES // len(first), 1))

    def parts() -> Iterator[tuple[FloatArray, FloatArray]]:
        for block in blocks:
            share = entrywise(lambda each: each / total, rows.weight[block])
            yield share, outputs_of(target, rows.y[block])

    # a constant is its own mean, to the bit
    mean = first + np.sum([share @ (outputs - first) for share, outputs in parts()], axis=0)
    # in units of the largest deviation: squares of large targets overflow
    sizes = [max((y - mean).max(), (mean - y).max()) for _, y in parts()]
    largest = float(max(sizes)) or 1.0
    squares = np.sum([share @ ((y - mean) / largest) ** 2 for share, y in parts()], axis=0)
    return mean, largest * float(np.sqrt(np.mean(squares))) or 1.0


def _some(rows: Rows, index: IntArray, number: int, most: int) -> Rows:
    """The rows of an index, or some of very many, whose weights make up for the others."""
    if len(index) > most:
        rng = np.random.default_rng(number)
        index = np.sort(rng.choice(index, most, replace=False, shuffle=False))
    some = rows.some(index)
    return some._replace(weight=some.weight * _evening(some.weight))


def _evening(weight: FloatArray) -> float:
    """What makes the mean of weights one: a process takes them as relative, and so do its flows."""
    return len(weight) / float(weight.sum())


def draw_projection(n_outputs: int, rng: np.random.Generator) -> FloatArray:
    """A random direction (K,) of mean square one; of a single output that output."""
    if n_outputs == 1:
        return np.ones(1)
    normal = rng.standard_normal(n_outputs)
    return normal * np.sqrt(n_outputs / (normal @ normal))


def shrinkage_of(
    outputs: FloatArray, left_out: FloatArray, between: FloatArray | None, weight: FloatArray
) -> FloatArray:
    r"""What predictions have to be multiplied by, (K,), so as not to say more than they know.

    .. math:: c_k = \min\left(1, \max\left(0,
        \frac{\sum_n s_n y_{nk} f_{nk}}{\sum_n s_n (f_{nk}^2 - v_{nk})}\right)\right)

    is the slope of outputs on predictions f of rows that these did not see. Where columns say
    nothing of the outputs it is about zero, and near one where the process knows what is noise.
    Members that left out different rows predict one row each, and all of them together a new one:
    averaging takes away the variance v between them.

    Parameters
    ----------
    outputs : ndarray of shape (n, K)
        Standardised outputs, of mean zero.
    left_out : ndarray of shape (S, n, K)
        What each of S opinions says of rows that it has not seen.
    between : ndarray of shape (n, K) or None
        The variance v of the members' predictions, where there is one opinion for all of them.
    weight : ndarray of shape (n,)
        Weights of the rows.
    """
    f = left_out.mean(axis=0)
    variance, covariance = weight @ f**2, weight @ (outputs * f)
    if between is not None:
        # however the variances were estimated, not all of it is theirs
        variance = np.maximum(variance - weight @ between, _LEAST_SIGNAL * variance)
    slope = covariance / np.where(variance > 0, variance, 1.0)
    shrinkage: FloatArray = np.where(variance > 0, np.clip(slope, 0.0, 1.0), 1.0)
    return shrinkage


def link_of(flow_targets: FlowTargets, left_out: FloatArray, rows: Rows, asked: IntArray) -> Link:
    """What makes scores of what the process predicts."""
    target, mean, scale = flow_targets.target, flow_targets.mean, flow_targets.scale
    K = left_out.shape[2]
    if isinstance(target, RegressionTarget):
        return AffineLink(np.full(K, scale), mean)
    y, weight = rows.y[asked], rows.weight[asked] * _evening(rows.weight)
    if target.n_outputs == K and K > 1 and isinstance(target, ClassificationTarget):
        return calibrate_softmax(left_out, y, weight, mean, scale)
    return calibrate_sigmoids(left_out, y, weight, mean, scale)
