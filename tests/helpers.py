"""What the tests share: a zoo of families, the naive loop, and differences."""

import os
import signal
import threading
import time

import autograd.numpy as anp
import numpy as np

from skcode.fields import (
    AffineFields,
    DiagonalFields,
    FunctionFields,
    LinearFields,
    NeuralFields,
    PolynomialFields,
    TwoFields,
    UniversalFields,
)
from skcode.flow import get_tableau

ACTIVATIONS = ("tanh", "relu", "gelu", "softplus", "sin", "identity", "polynomial")
RANKS = (None, 1, 2)
N_STATES = 3
N_FIELDS = 4


def pendulum(x):
    """A user's field with a state that it reads nonlinearly."""
    return anp.stack([x[:, 1], -anp.sin(x[:, 0]), x[:, 0] * x[:, 2]], axis=1)


def drift(x):
    """A user's field that does not read the state."""
    return anp.ones(x.shape, dtype=x.dtype)


def ctrl_c_field(at):
    """A field of the user's; somebody presses Ctrl-C in the middle of call number `at`."""
    lock = threading.Lock()

    def field(x):
        with lock:
            field.calls += 1
            pressed = field.calls == field.at
        if pressed:
            os.kill(os.getpid(), signal.SIGINT)
            # the main thread takes the signal when it comes to run
            time.sleep(0.5)
        return -x

    field.calls, field.at = 0, at
    return field


def interrupting_field(x):
    """A field that a Ctrl-C meets after the draw, in whichever process it is."""
    interrupting_field.calls += 1
    if interrupting_field.calls > 40:
        raise KeyboardInterrupt
    return -x


interrupting_field.calls = 0


#: one family of each kind; neural ones with a kernel, a tape or a law of their own
FAMILIES = {
    "rank 1": NeuralFields(rank=1),
    "rank 2": NeuralFields("softplus", rank=2),
    "full rank": NeuralFields(rank=None),
    "kept derivative": NeuralFields("gelu", rank=1),
    "kept derivative, full rank": NeuralFields("sin", rank=None),
    "polynomial activation": NeuralFields("polynomial", rank=None, degree=3, scale=0.5),
    "sparse and centred": NeuralFields(rank=1, sparse=0.5, centred=True),
    "polynomial": PolynomialFields(degree=3, scale=0.5),
    "linear": LinearFields(),
    "affine": AffineFields(),
    "diagonal": DiagonalFields(),
    "universal": UniversalFields(scale=0.5),
    "two": TwoFields(),
    "functions": FunctionFields([pendulum, drift]),
    "sum": LinearFields() + NeuralFields("gelu", rank=2),
    "stack": DiagonalFields() | NeuralFields(rank=1),
    "stack of sums": (AffineFields() + PolynomialFields()) | UniversalFields(scale=0.5),
    "sum with functions": FunctionFields([pendulum, drift]) + FunctionFields([drift, pendulum]),
}
#: every activation at every rank, beside the others
EVERY_FAMILY = FAMILIES | {
    f"{activation}, rank {rank}": NeuralFields(activation, rank=rank, degree=3)
    for activation in ACTIVATIONS
    for rank in RANKS
}


def draw(family, n_states=N_STATES, n_fields=N_FIELDS, seed=0, **options):
    """Drawn fields, of a family or of its name."""
    family = EVERY_FAMILY[family] if isinstance(family, str) else family
    return family.draw(n_states, n_fields, seed, **options)


def combined(fields, x, u):
    """V_u(x) by the definition."""
    return anp.einsum("i,nij->nj", u, fields.value(x))


def naive_flow(fields, x, controls, integrator="euler", n_steps=1):
    """The scheme as a plain loop over `value`, for autograd to trace step by step."""
    tableau = get_tableau(integrator)
    h = 1.0 / (len(controls) * n_steps)
    for t in range(len(controls)):
        for _ in range(n_steps):
            k = []
            for row in tableau.a:
                point = x + h * sum(a * kj for a, kj in zip(row, k, strict=True))
                k.append(combined(fields, point, controls[t]))
            x = x + h * sum(b * kj for b, kj in zip(tableau.b, k, strict=True))
    return x


def difference(function, z, dz, eps=1e-6):
    """Central difference of a function at z in the direction dz."""
    return (function(z + eps * dz) - function(z - eps * dz)) / (2 * eps)


def gradient_by_differences(function, z, eps=1e-6):
    """Gradient of a scalar function at a vector z."""
    return np.array([difference(function, z, e, eps) for e in np.eye(len(z))])


def relative_error(a, b):
    """Largest deviation in units of the largest entry of b."""
    return np.max(np.abs(np.asarray(a) - b)) / np.max(np.abs(b))
