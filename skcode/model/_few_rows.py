"""All members of an ensemble at a few rows: so few cost calls, not arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skcode.flow import BatchedFlows
from skcode.model._member import FittedMember
from skcode.utils._typing import Array, FloatArray, IntArray

#: rows that are few
FEW_ROWS = 64
#: coefficients of members on one map, which are copied, up to which they flow in one array
_SMALL_ENTRIES = 2**20

#: scores (e, n, K) of several members from their final states (e, m, n) and initial ones (n, m)
Scores = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True, eq=False)
class FewRows:
    """Flows of members in one array, and their scores by one call for each kind of head.

    Parameters
    ----------
    groups : sequence
        Members that share a map of the inputs: pooled ones may see other coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode import ControlledODERegressor
    >>> from skcode.model import FewRows
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> model = ControlledODERegressor(n_fields=2, n_members=3, random_state=0).fit(X, X[:, 0])
    >>> few = FewRows.of(model.ensemble_.members)
    >>> np.allclose(few.scores(X[:4]), model.ensemble_.scores(X)[:, :4])
    True
    """

    groups: Sequence[_Group]

    @classmethod
    def of(cls, members: Sequence[FittedMember]) -> FewRows | None:
        """Those of an ensemble; None where they have to go one by one."""
        maps: dict[int, list[int]] = {}
        for e, member in enumerate(members):
            maps.setdefault(id(member.model.input_map), []).append(e)
        groups = [_group(members, np.array(places)) for places in maps.values()]
        there = [group for group in groups if group is not None]
        return cls(there) if len(there) == len(groups) else None

    @property
    def has_heads(self) -> bool:
        """Whether every member has a head, whose variance needs the states alone."""
        return all(member.head is not None for group in self.groups for member in group.members)

    def scores(self, X: Array) -> FloatArray:
        """Scores (E, n, K) of the members."""
        return self._ordered([group.scores(*group.states(X)) for group in self.groups])

    def scores_and_variances(self, X: Array) -> tuple[FloatArray, FloatArray]:
        """Scores (E, n, K), and the variances (E, n, K) of a new observation, of heads."""
        states = [group.states(X) for group in self.groups]
        pairs = list(zip(self.groups, states, strict=True))
        scores = [group.scores(x1, x0) for group, (x1, x0) in pairs]
        variances = [group.variances(x1, x0) for group, (x1, x0) in pairs]
        return self._ordered(scores), self._ordered(variances)

    def _ordered(self, parts: Sequence[FloatArray]) -> FloatArray:
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate([group.places for group in self.groups]))
        return np.concatenate(parts)[order]


@dataclass(frozen=True, eq=False)
class _Group:
    """Members that share a map of the inputs."""

    members: Sequence[FittedMember]
    #: their places among all
    places: IntArray
    flows: BatchedFlows
    #: for those with heads of each kind, or none, their places in the group and their scores
    kinds: Sequence[tuple[list[int], Scores]]

    def states(self, X: Array) -> tuple[FloatArray, FloatArray]:
        """Final states (e, m, n) of the members, and the initial ones (n, m)."""
        x0 = self.members[0].model.input_map(X)
        return self.flows(x0), x0

    def scores(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Scores (e, n, K)."""
        if len(self.kinds) == 1:
            return self.kinds[0][1](x1, x0)
        parts = [scores(x1[kind], x0) for kind, scores in self.kinds]
        order = np.argsort(np.concatenate([kind for kind, _ in self.kinds]))
        return np.concatenate(parts)[order]

    def variances(self, x1: FloatArray, x0: FloatArray) -> FloatArray:
        """Variances (e, n, K) of a new observation, of members with heads."""
        heads = [member.head for member in self.members if member.head is not None]
        return np.stack([head.variance(x.T, x0) for head, x in zip(heads, x1, strict=True)])


def _group(every: Sequence[FittedMember], places: IntArray) -> _Group | None:
    """The members at some places, of one map of the inputs; None where these go one by one."""
    members = [every[e] for e in places]
    model = members[0].model
    if len(members) * model.fields.tape_width * model.fields.n_states > _SMALL_ENTRIES:
        return None
    fields = [member.model.fields for member in members]
    controls = [member.controls for member in members]
    flows = BatchedFlows.of(fields, model.tableau, controls, model.dtype)
    if flows is None:
        return None
    kinds: dict[type, list[int]] = {}
    for e, member in enumerate(members):
        kinds.setdefault(type(member.head), []).append(e)
    scores = [(kind, _scores_of([members[e] for e in kind])) for kind in kinds.values()]
    return _Group(members, places, flows, scores)


def _scores_of(members: Sequence[FittedMember]) -> Scores:
    """The scores of members with heads of one kind, or none."""
    heads = [member.head for member in members if member.head is not None]
    if not heads:
        return members[0].model.readout.batched([member.parameters for member in members])
    together = type(heads[0]).batched(heads)
    if together is not None:
        return lambda x1, x0: together(np.swapaxes(x1, 1, 2))
    return lambda x1, x0: np.stack(
        [head.scores(x.T, x0) for head, x in zip(heads, x1, strict=True)]
    )
