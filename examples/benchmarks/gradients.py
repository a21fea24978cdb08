"""How exact the gradients of the flow are: a table of errors.

For every family of fields and every scheme, the adjoint of ``skcode.flow.flow`` is
compared with plain autograd of the same scheme, written as a loop and traced step by step
in double precision::

    python gradients.py
    python gradients.py --samples 200 --states 16 --intervals 8 --steps 2

An entry is the largest deviation in the gradients with respect to the controls and to the
initial states, each in units of its largest entry; rounding is 1e-16 in double and 6e-8 in
single precision.
"""

import argparse

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp

from skcode.fields import (
    AffineFields,
    DiagonalFields,
    FunctionFields,
    LinearFields,
    NeuralFields,
    PolynomialFields,
    UniversalFields,
)
from skcode.flow import TABLEAUS, flow


def swirl(x):
    """A field of a user's own."""
    return anp.sin(anp.roll(x, 1, axis=1)) - x**2


def families():
    """Name and specification of one family of each kind."""
    activations = ("tanh", "relu", "gelu", "softplus", "sin", "identity")
    neural = {f"neural {name}, rank 1": NeuralFields(name) for name in activations}
    return neural | {
        "neural tanh, rank 4": NeuralFields(rank=4),
        "neural tanh, full rank": NeuralFields(rank=None, scale=0.5),
        "neural polynomial, full rank": NeuralFields("polynomial", rank=None, scale=0.5),
        "polynomial, degree 3": PolynomialFields(degree=3, scale=0.5),
        "linear": LinearFields(),
        "affine": AffineFields(),
        "diagonal": DiagonalFields(),
        "universal": UniversalFields(scale=0.5),
        "functions": FunctionFields([swirl, anp.cos]),
        "linear + neural": LinearFields() + NeuralFields(),
        "diagonal | neural": DiagonalFields() | NeuralFields(),
    }


def naive_flow(fields, x, controls, tableau, n_steps):
    """The scheme as a loop that autograd traces."""
    h = 1.0 / (len(controls) * n_steps)
    for t in range(len(controls)):
        for _ in range(n_steps):
            k = []
            for row in tableau.a:
                point = x + h * sum(a * kj for a, kj in zip(row, k, strict=True))
                k.append(anp.einsum("i,nij->nj", controls[t], fields.value(point)))
            x = x + h * sum(b * kj for b, kj in zip(tableau.b, k, strict=True))
    return x


def gradients(run, x, controls, covector):
    """Gradients of <covector, X_1> in the initial states and in the controls."""
    return make_vjp(lambda both: run(*both))((x, controls))[0](covector)


def error(fields, x, controls, covector, tableau, n_steps, dtype):
    """Largest relative deviation of the adjoint from plain autograd in double precision."""
    exact = gradients(
        lambda x, u: naive_flow(fields, x, u, tableau, n_steps), x, controls, covector
    )
    typed = fields.astype(dtype)
    arrays = [array.astype(dtype) for array in (x, controls, covector)]
    ours = gradients(lambda x, u: flow(typed, x, u, tableau, n_steps), *arrays)
    return max(np.max(np.abs(a - b)) / np.max(np.abs(b)) for a, b in zip(ours, exact, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--states", type=int, default=6)
    parser.add_argument("--fields", type=int, default=8)
    parser.add_argument("--intervals", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1)
    args = parser.parse_args()

    print("largest relative error of the adjoint against plain autograd")
    for dtype in ("float32", "float64"):
        print(f"\n{dtype:<30}" + "".join(f"{name:>12}" for name in TABLEAUS))
        for name, family in families().items():
            rng = np.random.default_rng(0)
            fields = family.draw(args.states, args.fields, rng)
            x, covector = 0.5 * rng.standard_normal((2, args.samples, args.states))
            controls = rng.standard_normal((args.intervals, fields.n_fields))
            controls /= np.sqrt(fields.n_fields)
            errors = [
                error(fields, x, controls, covector, tableau, args.steps, dtype)
                for tableau in TABLEAUS.values()
            ]
            print(f"{name:<30}" + "".join(f"{e:12.1e}" for e in errors), flush=True)


if __name__ == "__main__":
    main()
