"""Fields under many controls at once: all intervals, or all candidates, in one array.

A group of N points has controls of its own. The interval of length 1/M under u is the flow over
unit time under w = u / M, so that nothing here knows of M.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from autograd import make_jvp
from scipy.integrate import DOP853

from skcode.fields import Fields
from skcode.fields._neural import NeuralDrawn
from skcode.fields._polynomial import Monomials
from skcode.geometry._vector_field import Exponent, PolynomialField, all_polynomial, vector_fields
from skcode.utils._tracing import tracing
from skcode.utils._typing import FloatArray

#: the scheme of Dormand and Prince of order 8
_A, _B = DOP853.A, DOP853.B
#: floats in the arrays of one chunk of groups
_CHUNK = 2**21


class Bundle(ABC):
    """V_w(x) = sum_i w^i V_i(x) for G groups of N points, each group with its own w.

    Shapes: w (G, d), x (G, N, m).
    """

    n_fields: int
    n_states: int
    #: floats that one point costs
    width: int

    @abstractmethod
    def bind(self, w: FloatArray) -> Any:
        """What the methods need of w; its parts are arrays with a first axis G."""

    @abstractmethod
    def values(self, x: FloatArray) -> FloatArray:
        """All fields at each point (G, N, d, m)."""

    @abstractmethod
    def velocity(self, bound: Any, x: FloatArray) -> FloatArray:
        """V_w(x) as (G, N, m)."""

    @abstractmethod
    def derivative(self, bound: Any, x: FloatArray) -> FloatArray:
        """DV_w(x) as (G, N, m, m), with the direction last."""

    # -- the flow over unit time -----------------------------------------------------------------

    def flow(self, w: FloatArray, x: FloatArray, n_steps: int) -> FloatArray:
        """Where the points of each group arrive (G, N, m)."""
        return np.concatenate(
            [self._flow(w[s], x[s], n_steps) for s in self._chunks(x, self.width)]
        )

    def linearised_flow(
        self, w: FloatArray, x: FloatArray, n_steps: int
    ) -> tuple[FloatArray, FloatArray]:
        """Derivatives of `flow` in x (G, N, m, m) and in w (G, N, m, d)."""
        m, d = self.n_states, self.n_fields
        width = self.width + 8 * m * (m + d)
        S = np.concatenate([self._linearised(w[s], x[s], n_steps) for s in self._chunks(x, width)])
        return S[..., :m], S[..., m:]

    def _chunks(self, x: FloatArray, width: int) -> list[slice]:
        G, N, _ = x.shape
        size = max(1, _CHUNK // (N * width))
        return [slice(start, start + size) for start in range(0, G, size)]

    def _flow(self, w: FloatArray, x: FloatArray, n_steps: int) -> FloatArray:
        bound = self.bind(w / n_steps)
        k = np.empty((len(_B), x.size))
        for _ in range(n_steps):
            for i, row in enumerate(_A):
                point = x + (row[:i] @ k[:i]).reshape(x.shape)
                k[i] = self.velocity(bound, point).ravel()
            x = x + (_B @ k).reshape(x.shape)
        return x

    def _linearised(self, w: FloatArray, x: FloatArray, n_steps: int) -> FloatArray:
        m, d = self.n_states, self.n_fields
        bound = self.bind(w / n_steps)
        S = np.zeros((*x.shape, m + d))
        S[..., :m] = np.eye(m)
        k, K = np.empty((len(_B), *x.shape)), np.empty((len(_B), *S.shape))
        for _ in range(n_steps):
            for i, row in enumerate(_A):
                point = x + np.tensordot(row[:i], k[:i], axes=1)
                k[i] = self.velocity(bound, point)
                tangent = S + np.tensordot(row[:i], K[:i], axes=1)
                np.matmul(self.derivative(bound, point), tangent, out=K[i])
                K[i, ..., m:] += np.swapaxes(self.values(point), -1, -2) / n_steps
            x = x + np.tensordot(_B, k, axes=1)
            S = S + np.tensordot(_B, K, axes=1)
        return S


class _BoundPolynomials(NamedTuple):
    C: FloatArray  # (G, D, m): w^i c_i
    dC: FloatArray  # (G, D, m m): the coefficients of its derivatives


class PolynomialBundle(Bundle):
    """Polynomial fields: the controls are contracted with the coefficients first."""

    def __init__(self, Vs: list[PolynomialField]):
        m = Vs[0].n_states
        exponents = _divisors({alpha for V in Vs for alpha in V.terms})
        index = {alpha: j for j, alpha in enumerate(exponents)}
        table = Monomials(exponents, m)
        self.levels = [(s, table.parent[s], table.variable[s]) for s in table.levels]
        self.n_fields, self.n_states = len(Vs), m
        self.width = len(exponents)
        self.c = np.zeros((len(Vs), len(exponents), m))
        self.dc = np.zeros((len(Vs), len(exponents), m, m))
        for i, V in enumerate(Vs):
            for alpha, c in V.terms.items():
                self.c[i, index[alpha]] = c
                for j in set(alpha):
                    self.dc[i, index[_without(alpha, j)], :, j] += alpha.count(j) * c

    def bind(self, w: FloatArray) -> _BoundPolynomials:
        C, dC = np.tensordot(w, self.c, axes=1), np.tensordot(w, self.dc, axes=1)
        return _BoundPolynomials(C, dC.reshape(*dC.shape[:2], -1))

    def _phi(self, x: FloatArray) -> FloatArray:
        phi = np.empty((*x.shape[:-1], self.width))
        phi[..., 0] = 1
        for level, parents, variables in self.levels:
            phi[..., level] = phi.take(parents, axis=-1) * x.take(variables, axis=-1)
        return phi

    def values(self, x: FloatArray) -> FloatArray:
        flat = self._phi(x) @ self.c.transpose(1, 0, 2).reshape(self.width, -1)
        return flat.reshape(*x.shape[:-1], self.n_fields, self.n_states)

    def velocity(self, bound: _BoundPolynomials, x: FloatArray) -> FloatArray:
        return self._phi(x) @ bound.C

    def derivative(self, bound: _BoundPolynomials, x: FloatArray) -> FloatArray:
        return (self._phi(x) @ bound.dC).reshape(*x.shape, self.n_states)


def _without(alpha: Exponent, j: int) -> Exponent:
    k = alpha.index(j)
    return alpha[:k] + alpha[k + 1 :]


def _divisors(exponents: set[Exponent]) -> list[Exponent]:
    """The monomials and all that divide them, in order of degree."""
    found: set[Exponent] = {()}
    fresh = set(exponents)
    while fresh:
        found |= fresh
        fresh = {_without(alpha, j) for alpha in fresh for j in alpha} - found
    return sorted(found, key=lambda alpha: (len(alpha), alpha))


class _ValueBundle(Bundle):
    """Fields by their values, which are contracted with the controls."""

    def __init__(self, fields: Fields):
        self.fields = fields
        self.n_fields, self.n_states = fields.n_fields, fields.n_states
        self.width = fields.tape_width + self.n_fields * self.n_states

    def bind(self, w: FloatArray) -> FloatArray:
        return w

    def values(self, x: FloatArray) -> FloatArray:
        flat: FloatArray = self.fields.value(x.reshape(-1, self.n_states))
        return flat.reshape(*x.shape[:-1], self.n_fields, self.n_states)

    def velocity(self, bound: FloatArray, x: FloatArray) -> FloatArray:
        return _contract(bound, self.values(x))


def _contract(w: FloatArray, values: FloatArray) -> FloatArray:
    """Sum_i w_g^i V_i as (G, N, m)."""
    return (w[:, None, None, :] @ values)[..., 0, :]


class GeneralBundle(_ValueBundle):
    """Any fields; the derivative is autograd's forward mode."""

    def derivative(self, bound: FloatArray, x: FloatArray) -> FloatArray:
        rows = x.reshape(-1, self.n_states)
        columns = []
        with tracing():
            jvp = make_jvp(self.fields.value)(rows)
            for e in np.eye(self.n_states):
                tangent = jvp(np.broadcast_to(e, rows.shape))[1]
                columns.append(_contract(bound, tangent.reshape(*x.shape[:-1], -1, x.shape[-1])))
        return np.stack(columns, axis=-1)


class NeuralBundle(_ValueBundle):
    """Neural fields: DV_w = sum_r w_r B_r sigma'_r A_r over the rows r of all fields."""

    def __init__(self, fields: NeuralDrawn):
        super().__init__(fields)
        self.activation = fields.activation
        self.A, self.b, m = fields.A[:, :-1], fields.A[:, -1:], fields.n_states
        B = np.tile(np.eye(m), fields.n_fields) if fields.B is None else fields.B
        #: products (m, m, d r) of the entries, by direction and component
        self.BA = B * self.A.T[:, None, :]
        self.rank = fields.rank
        self.columns = np.ascontiguousarray(self.A.T)
        self.B = None if fields.B is None else B.reshape(m, fields.n_fields, -1).transpose(1, 2, 0)

    def values(self, x: FloatArray) -> FloatArray:
        s = x.reshape(-1, self.n_states) @ self.columns
        s += self.b.T
        self.activation.forward(s, np.empty_like(s) if self.activation.keeps_derivative else None)
        s = s.reshape(*x.shape[:-1], self.n_fields, 1, self.rank)
        return (s if self.B is None else s @ self.B)[..., 0, :]

    def derivative(self, bound: FloatArray, x: FloatArray) -> FloatArray:
        s = self.A @ x.reshape(-1, self.n_states).T + self.b
        ds = np.empty_like(s) if self.activation.keeps_derivative else None
        self.activation.forward(s, ds)
        q = np.repeat(np.repeat(bound.T, self.rank, axis=0), x.shape[1], axis=1)
        q *= self.activation.derivative(s, ds, np.empty_like(s))
        return (self.BA @ q).transpose(2, 1, 0).reshape(*x.shape, self.n_states)


def bundle(fields: Fields) -> Bundle:
    """The fields for many controls at once."""
    Vs = vector_fields(fields)
    if all_polynomial(Vs):
        return PolynomialBundle(Vs)
    return NeuralBundle(fields) if isinstance(fields, NeuralDrawn) else GeneralBundle(fields)
