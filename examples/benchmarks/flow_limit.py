"""What the machine could do: the necessary work of a row, at rates measured in the same turns.

The necessary work of a block of samples is a list of pieces, each a plain NumPy or BLAS call on
arrays of the block's own shapes, with the number of times that a sweep needs it:

- matrix products: fields forward and backward (the first interval needs no adjoint of the state);
- the activation, in the fastest of its NumPy forms;
- passes: the derivative of the activation, sums over fields and the gradient in the controls, as
  one product of arrays or one matrix-vector product each;
- for the Jacobian, the symmetric product J J^T;
- reading X once from memory.

Pieces run on as many threads at once as the sweeps do. What is left out is what a perfect program
could save: loops and calls, copies, the loss, the readout, sums over blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas

#: seconds that one timed call of a piece takes on each thread, about
_SECONDS = 2e-3


class Piece(NamedTuple):
    """A call, and how often a block needs it for each task."""

    call: Callable[[], object]
    gradient: int
    jacobian: int


def product(rows, inner, columns, dtype, ones=np.ones):
    """A matrix product (rows, inner) by (inner, columns)."""
    a, b, out = ones((rows, inner), dtype), ones((inner, columns), dtype), None
    out = np.empty((rows, columns), dtype)
    return lambda: np.matmul(a, b, out=out)


def tanh_forms(z):
    """NumPy's own, and by the exponential function."""
    out = np.empty_like(z)

    def by_exp():
        np.exp(z, out=out)
        np.add(out, 1, out=out)
        np.divide(2, out, out=out)
        np.subtract(1, out, out=out)

    return {"tanh": lambda: np.tanh(z, out=out), "exp": by_exp}


def passes(width, n, dtype):
    """A product of arrays, and a sum of products, over width rows of a block."""
    a, b = np.ones((width, n), dtype), np.ones((width, n), dtype)
    return lambda: np.multiply(a, b, out=a), lambda: np.dot(a.reshape(-1), b.reshape(-1))


def neural_pieces(fields, n, M, dtype):
    m, width = fields.n_states, len(fields.A)
    multiply, dot = passes(width, n, dtype)
    rng = np.random.default_rng(0)
    forms = tanh_forms(rng.standard_normal((width, n)).astype(dtype))
    pieces = {
        "A x": Piece(product(width, m + 1, n, dtype), M, M),
        "A^T q": Piece(product(m, width, n, dtype), M - 1, M - 1),
        "derivative": Piece(multiply, M - 1, M - 1),
        **{f"activation, {name}": Piece(form, M, M) for name, form in forms.items()},
    }
    if fields.B is not None:
        return pieces | {
            "B s": Piece(product(m, width, n, dtype), M, M),
            "B^T p": Piece(product(width, m, n, dtype), M, M - 1),
            "control gradient": Piece(dot, M, 0),
            "rows": Piece(multiply, 0, M),
        }
    u, s = np.ones(fields.n_fields, dtype), np.ones((fields.n_fields, m * n), dtype)
    p = np.ones(m * n, dtype)
    return pieces | {
        "sum over fields": Piece(lambda: u @ s, M, M),
        "control gradient": Piece(lambda: s @ p, M, 0),
        "rows": Piece(multiply, 0, M),
    }


def polynomial_pieces(fields, n, M, dtype):
    d, m, D = fields.coefficients.shape
    multiply, _ = passes(D, n, dtype)
    values, _ = passes(d * m, n, dtype)
    return {
        "monomials": Piece(multiply, M, M),
        "C phi": Piece(product(m, D, n, dtype), M, M),
        "p phi^T": Piece(product(m, n, D, dtype), M, 0),
        "C^T p": Piece(product(D, m, n, dtype), M - 1, M - 1),
        # the product rule: two products and two sums
        "monomials back": Piece(multiply, 4 * (M - 1), 4 * (M - 1)),
        "c_i phi": Piece(product(d * m, D, n, dtype), 0, M),
        "rows": Piece(values, 0, M),
    }


class Limit:
    """The limit of one row: callables to be timed, and the bound that their times give.

    Parameters
    ----------
    model : Model
        The model of the row.
    n : int
        Samples.
    n_threads : int
        Threads of the sweeps.
    """

    def __init__(self, model, n: int, n_threads: int):
        n_block = min(model.n_block, n)
        self.n_blocks = n / n_block
        self.n_threads = min(n_threads, -(-n // n_block))
        self.pool = ThreadPoolExecutor(self.n_threads)
        fields, M, dtype = model.fields, model.n_intervals, model.dtype
        kind = polynomial_pieces if hasattr(fields, "coefficients") else neural_pieces
        # each thread has arrays of its own
        self.copies = [kind(fields, n_block, M, dtype) for _ in range(self.n_threads)]
        share = -(-n // self.n_threads)
        for copy in self.copies:
            P = model.n_parameters
            J = np.ones((P, n_block), dtype)
            syrk = blas.ssyrk if dtype == np.float32 else blas.dsyrk
            out = np.zeros((P, P), dtype, order="F")
            copy["J J^T"] = Piece(
                lambda s=syrk, J=J, out=out: s(1.0, J.T, 1.0, out, trans=1, overwrite_c=1), 0, 1
            )
            X, target = np.ones((share, fields.n_states), dtype), np.empty((share, 1), dtype)
            copy["read X"] = Piece(
                lambda X=X, t=target: np.max(X, axis=1, keepdims=True, out=t), 0, 0
            )
        self.repeats = {name: self._repeats(piece) for name, piece in self.copies[0].items()}

    @staticmethod
    def _repeats(piece):
        piece.call()
        start = time.perf_counter()
        piece.call()
        return max(1, int(_SECONDS / max(time.perf_counter() - start, 1e-7)))

    def calls(self, task):
        """Callables by name: each runs its piece on all threads at once."""
        index = 1 if task == "gradient" else 2
        names = [n for n, piece in self.copies[0].items() if piece[index] or n == "read X"]
        return {name: lambda name=name: self._run(name) for name in names}

    def _run(self, name):
        def repeat(call):
            for _ in range(self.repeats[name]):
                call()

        list(self.pool.map(repeat, [copy[name].call for copy in self.copies]))

    def parts(self, task, times):
        """Seconds that each part of the necessary work takes."""
        index = 1 if task == "gradient" else 2
        blocks = self.n_blocks / self.n_threads
        single = {name: times[name] / self.repeats[name] for name in self.repeats if name in times}
        parts = {
            name: t * blocks * self.copies[0][name][index]
            for name, t in single.items()
            if name != "read X"
        }
        forms = [name for name in parts if name.startswith("activation")]
        if forms:
            parts["activation"] = min(parts.pop(name) for name in forms)
        return parts | {"read X": single["read X"]}

    def seconds(self, task, times):
        """The bound."""
        return sum(self.parts(task, times).values())
