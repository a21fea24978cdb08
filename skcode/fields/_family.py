"""Families: specifications of laws of random vector fields, and their sums and stacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skcode.fields._composite import DrawnStack, DrawnSum
from skcode.fields._drawn import DrawnFields
from skcode.utils._doc_link import DocLinkMixin
from skcode.utils._random import RandomSource, as_generator
from skcode.utils._typing import FloatArray


class FieldFamily(DocLinkMixin, BaseEstimator, ABC):
    """Specification of a law of random vector fields.

    A family holds hyper-parameters only, so that it can be cloned and searched
    (``vector_fields__scale``). `draw` turns it into `DrawnFields`, which hold arrays only.

    ``a + b`` adds fields pairwise: the same controls drive both. ``a | b`` stacks them: each family
    has controls of its own.

    Examples
    --------
    >>> from skcode.fields import NeuralFields
    >>> family = NeuralFields(rank=1)
    >>> family.set_params(scale=2.0).draw(n_states=3, n_fields=4, rng=0).n_fields
    4
    """

    #: what `draw` checks of the parameters, as scikit-learn's estimators do
    _parameter_constraints: dict[str, list[Any]] = {}

    def draw(
        self,
        n_states: int,
        n_fields: int | None = None,
        rng: RandomSource = None,
        *,
        n_inputs: int | None = None,
        reference: FloatArray | None = None,
    ) -> DrawnFields:
        """Draw V_1..V_d on R^m.

        Parameters
        ----------
        n_states : int
            Dimension m of the state.
        n_fields : int or None
            Number of fields d, for families whose number is free. Families with a number of their
            own (diagonal, universal, functions) draw that number whatever is asked.
        rng : numpy Generator, RandomState, int or None
            Source of randomness.
        n_inputs : int or None
            Number p of leading state coordinates that carry the inputs; None means all m.
        reference : ndarray of shape (n, p) or None
            Scaled inputs, for families that place fields where the data lie.

        Returns
        -------
        DrawnFields
            Immutable drawn fields.

        Raises
        ------
        ValueError
            If the numbers contradict each other or the family, or a parameter is out of its range.
        """
        self._validate_params()
        n_inputs = n_states if n_inputs is None else n_inputs
        if not 1 <= n_inputs <= n_states:
            raise ValueError(f"n_inputs={n_inputs} must lie between 1 and n_states={n_states}.")
        d = self.count(n_fields, n_inputs)
        return self._draw(n_states, d, as_generator(rng), n_inputs, reference)

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        """Number of fields that `draw` returns for this request."""
        if not isinstance(n_fields, Integral) or n_fields < 1:
            raise ValueError(f"{type(self).__name__} needs n_fields >= 1; got {n_fields!r}.")
        return int(n_fields)

    @abstractmethod
    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnFields:
        """Draw exactly n_fields fields; the arguments are checked."""

    def __add__(self, other: FieldFamily) -> SumFields:
        return SumFields(self, other) if isinstance(other, FieldFamily) else NotImplemented

    def __or__(self, other: FieldFamily) -> StackFields:
        return StackFields(self, other) if isinstance(other, FieldFamily) else NotImplemented


class SumFields(FieldFamily):
    """``first + second``: V_i = V_i^first + V_i^second, driven by the same control u^i.

    Parameters
    ----------
    first, second : FieldFamily
        Families that draw the same number of fields.

    Examples
    --------
    >>> from skcode.fields import LinearFields, NeuralFields
    >>> (LinearFields() + NeuralFields()).draw(3, 4, rng=0).n_fields
    4
    """

    _parameter_constraints = {"first": [FieldFamily], "second": [FieldFamily]}

    def __init__(self, first: FieldFamily, second: FieldFamily):
        self.first = first
        self.second = second

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        counts = {family.count(n_fields, n_inputs) for family in (self.first, self.second)}
        if len(counts) != 1:
            raise ValueError(
                "Families that are added must draw the same number of fields; "
                f"got {sorted(counts)}."
            )
        return counts.pop()

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnSum:
        return DrawnSum(
            [
                family.draw(n_states, n_fields, rng, n_inputs=n_inputs, reference=reference)
                for family in (self.first, self.second)
            ]
        )


class StackFields(FieldFamily):
    """``first | second``: the fields of both families side by side, each with its own control.

    ``n_fields`` is asked of every family whose number is free; ``count`` is the sum.

    Parameters
    ----------
    first, second : FieldFamily
        The two families.

    Examples
    --------
    >>> from skcode.fields import DiagonalFields, NeuralFields
    >>> fields = (DiagonalFields() | NeuralFields(rank=1)).draw(2, 3, rng=0)
    >>> fields.labels
    ['diagonal[0]', 'diagonal[1]', 'neural[0]', 'neural[1]', 'neural[2]']
    """

    _parameter_constraints = {"first": [FieldFamily], "second": [FieldFamily]}

    def __init__(self, first: FieldFamily, second: FieldFamily):
        self.first = first
        self.second = second

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        return self.first.count(n_fields, n_inputs) + self.second.count(n_fields, n_inputs)

    def draw(
        self,
        n_states: int,
        n_fields: int | None = None,
        rng: RandomSource = None,
        *,
        n_inputs: int | None = None,
        reference: FloatArray | None = None,
    ) -> DrawnStack:
        self._validate_params()
        rng = as_generator(rng)
        return DrawnStack(
            [
                family.draw(n_states, n_fields, rng, n_inputs=n_inputs, reference=reference)
                for family in (self.first, self.second)
            ]
        )

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnStack:
        return self.draw(n_states, n_fields, rng, n_inputs=n_inputs, reference=reference)
