"""Several fitted members that predict together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skcode.inputs import InputMap
from skcode.model._divergence import check_divergence
from skcode.model._few_rows import FEW_ROWS, FewRows
from skcode.model._member import FittedMember
from skcode.model._targets import Target, mean_of
from skcode.utils._blocks import OrderedMap
from skcode.utils._typing import Array, FloatArray


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What an estimator has fitted: members, and the target that they predict.

    Parameters
    ----------
    members : tuple of FittedMember
        The members, at least one.
    target : Target or None
        Encoding of what is predicted; None where the states alone are of interest.
    pooled : tuple of FittedMember
        Members whose scores are added to those of each of the others: a logarithmic pool of
        opinions, where scores are logarithms of odds.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode import ControlledODERegressor
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> model = ControlledODERegressor(n_fields=2, n_members=3, random_state=0).fit(X, X[:, 0])
    >>> ensemble = model.ensemble_
    >>> scores = ensemble.scores(X)
    >>> scores.shape
    (3, 50, 1)
    >>> np.allclose(ensemble.target.decode(scores.mean(axis=0)), model.predict(X))
    True
    """

    members: tuple[FittedMember, ...]
    target: Target | None = None
    pooled: tuple[FittedMember, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        # what is made from the members neither travels nor persists
        return {name: value for name, value in self.__dict__.items() if name != "_of_few"}

    def __len__(self) -> int:
        return len(self.members)

    @property
    def every_member(self) -> tuple[FittedMember, ...]:
        """The members, and those that are pooled."""
        return (*self.members, *self.pooled)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float type of the states and the scores."""
        return self.members[0].model.dtype

    @property
    def input_map(self) -> InputMap:
        """The scaling of the inputs."""
        return self.members[0].model.input_map

    @property
    def has_variance(self) -> bool:
        """Whether `moments` has something to go by."""
        return all(member.has_variance for member in self.members)

    def scores(self, X: Array, n_jobs: int | None = None) -> FloatArray:
        """Scores (E, n, K) of the members; few rows are scaled once, and flow through all at once.

        It is an error where a flow explodes, and a warning where one all but explodes.
        """
        return self._checked(self._scores(X, n_jobs), X)

    def _checked(self, scores: FloatArray, X: Array) -> FloatArray:
        target = self.target
        if target is None:
            return check_divergence(scores, np.inf, X, self.input_map)
        return check_divergence(scores, target.reach, X, self.input_map, target.size)

    def _scores(self, X: Array, n_jobs: int | None) -> FloatArray:
        every = self.every_member
        few = self._few(X)
        if few is not None:
            # so little is not worth handing to workers, nor to threads of BLAS
            with np.errstate(all="ignore"):
                return self._with_pool(few.scores(X))
        if len(X) <= min(member.model.n_block for member in every):
            with OrderedMap(n_jobs):
                return self.block_scores(X, self.input_map(X) if self._share_inputs else None)
        scores = np.empty((len(every), len(X), self.members[0].n_outputs), self.dtype)
        with OrderedMap(n_jobs) as mapper:
            for e, member in enumerate(every):
                scores[e] = member.scores(X, mapper)
        return self._with_pool(scores)

    def block_scores(self, X: Array, x0: FloatArray | None = None) -> FloatArray:
        """Scores (E, n, K) of the members for one block; its initial states may be known."""
        every = [member.block_scores(X, x0) for member in self.every_member]
        return self._with_pool(np.stack(every))

    def scores_of_scaled(self, z: FloatArray) -> FloatArray:
        """Scores (E, n, K) of the members at scaled columns (n, p), for one block."""
        every = self.every_member
        starts = [member.model.input_map.of_scaled(z) for member in every]
        pairs = zip(every, starts, strict=True)
        return self._with_pool(np.stack([member.block_scores(z, x0) for member, x0 in pairs]))

    def _with_pool(self, scores: FloatArray) -> FloatArray:
        """Scores of the members, from those of every member."""
        if not self.pooled:
            return scores
        together: FloatArray = scores[: len(self)] + scores[len(self) :].sum(axis=0)
        return together

    @property
    def _share_inputs(self) -> bool:
        return all(member.model.input_map is self.input_map for member in self.every_member)

    @cached_property
    def _of_few(self) -> FewRows | None:
        return FewRows.of(self.every_member)

    def _few(self, X: Array) -> FewRows | None:
        """What flows all at once through every member, if these rows are few and there are some."""
        return self._of_few if len(self.every_member) > 1 and len(X) <= FEW_ROWS else None

    def column_gradient(self, z: FloatArray, covector: FloatArray) -> FloatArray:
        """Derivative (n, p) in scaled columns (n, p) of the mean scores, with weights (n, K)."""
        members, pooled = (
            [member.column_gradient(z, covector) for member in some]
            for some in (self.members, self.pooled)
        )
        gradient: FloatArray = mean_of(np.stack(members))
        return sum(pooled, start=gradient)

    def moments(self, X: Array, n_jobs: int | None = None) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (n, K) of a new observation, in units of the scores.

        The variance is the mean of the members' variances plus the variance between their scores.
        """
        few = self._few(X)
        if few is not None and few.has_heads:
            with np.errstate(all="ignore"):
                every, variances = few.scores_and_variances(X)
            scores = self._checked(self._with_pool(every), X)
            variances = variances[: len(self)]
        else:
            scores = self.scores(X, n_jobs)
            with OrderedMap(n_jobs) as mapper:
                variances = np.array([member.variance(X, mapper) for member in self.members])
        mean, within = mean_of(scores), mean_of(variances)
        with np.errstate(over="ignore"):
            between = mean_of((scores - mean) ** 2)
            deviation = np.sqrt(within + between)
        return mean, check_divergence(deviation, np.inf, X, self.input_map)

    def states(self, X: Array, n_jobs: int | None = None) -> FloatArray:
        """Final states (n, m) of the first member; an error where its flow explodes."""
        with OrderedMap(n_jobs) as mapper:
            states = self.members[0].states(X, mapper)
        return check_divergence(states, max(self.input_map.size, 1.0), X, self.input_map)

    def trajectory(self, X: Array, member: int = 0, n_jobs: int | None = None) -> FloatArray:
        """States (M + 1, n, m) of a member; an error where its flow explodes."""
        with OrderedMap(n_jobs):
            states = self.members[member].trajectory(X)
        check_divergence(states[-1], np.inf, X, self.input_map)
        return states
