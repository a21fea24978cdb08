"""Peers of the flow benchmark: the same loss, gradient and Jacobian accumulation elsewhere.

Each peer is a function ``peer(problem) -> (gradient, accumulate)`` of two callables without
arguments. ``gradient()`` returns the mean squared error and its gradient in the controls, the
readout weights and the intercept; ``accumulate()`` returns J^T J / n and the gradient, with the
Jacobian J of the scores in the same order. Peers that do not offer one of the two return None.

Every peer runs in its best form that we know of: fields of low rank contract the controls with the
outer matrices first, polynomial fields with their coefficients; per-sample gradients come from
one backward pass in controls that are repeated for each sample, not from a loop or from n passes.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Problem:
    """Arrays of one row of the grid, all of one dtype; `B` is None for full rank."""

    X: np.ndarray  # (n, m)
    y: np.ndarray  # (n,)
    controls: np.ndarray  # (M, d)
    weights: np.ndarray  # (m,)
    intercept: np.ndarray  # (1,)
    A: np.ndarray | None = None  # (d r, m + 1)
    B: np.ndarray | None = None  # (m, d r)
    coefficients: np.ndarray | None = None  # (d, m, D), polynomial fields
    monomials: object = None

    @property
    def n_intervals(self):
        return len(self.controls)


def step_function(xp, problem, constants):
    """V(x, u) for controls u (d,), or (n, d) with one row for each sample."""
    d, m = problem.controls.shape[1], problem.X.shape[1]
    if problem.coefficients is not None:
        c, parents, variables = constants["c"], constants["parents"], constants["variables"]

        def monomials(x):
            table = [x[:, :1] * 0 + 1]
            for parent, variable in zip(parents, variables, strict=True):
                table.append(table[-1][:, parent] * x[:, variable])
            return xp.concatenate(table, 1)

        def velocity(x, u):
            if u.ndim == 1:
                return monomials(x) @ xp.tensordot(u, c, 1).T
            values = (monomials(x) @ c.reshape(d * m, -1).T).reshape(-1, d, m)
            return (u[:, :, None] * values).sum(1)

        return velocity
    A, b = constants["A"], constants["b"]
    if problem.B is not None:
        B = constants["B"]
        r = B.shape[1] // d

        def velocity(x, u):
            s = xp.tanh(x @ A.T + b)
            if u.ndim == 1:
                u = u if r == 1 else u[:, None].repeat(r, 1).reshape(-1)
                return s @ (B * u).T
            return (s.reshape(-1, d, r) * u[:, :, None]).reshape(s.shape) @ B.T

        return velocity

    def velocity(x, u):
        s = xp.tanh(x @ A.T + b).reshape(-1, d, m)
        return xp.einsum("i,nij->nj" if u.ndim == 1 else "ni,nij->nj", u, s)

    return velocity


def constants_of(problem, as_array):
    """The frozen arrays of the fields."""
    if problem.coefficients is not None:
        parents, variables, start = [], [], 0
        for level in problem.monomials.levels:
            parents.append(as_array(problem.monomials.parent[level] - start))
            variables.append(as_array(problem.monomials.variable[level]))
            start = level.start
        return {"c": as_array(problem.coefficients), "parents": parents, "variables": variables}
    constants = {
        "A": as_array(np.ascontiguousarray(problem.A[:, :-1])),
        "b": as_array(np.ascontiguousarray(problem.A[:, -1])),
    }
    return constants if problem.B is None else constants | {"B": as_array(problem.B)}


def euler(velocity, n_intervals):
    """X_1 for controls (M, d), or (M, n, d)."""

    def flow(x, controls):
        for t in range(n_intervals):
            x = x + velocity(x, controls[t] / n_intervals)
        return x

    return flow


# -- PyTorch -------------------------------------------------------------------------------------


def torch_parts(problem, flow=None):
    import torch

    X, y, u, w, b = (
        torch.from_numpy(np.ascontiguousarray(a))
        for a in (problem.X, problem.y, problem.controls, problem.weights, problem.intercept)
    )
    constants = constants_of(problem, torch.from_numpy)
    velocity = step_function(torch, problem, constants)
    flow = euler(velocity, problem.n_intervals) if flow is None else flow(velocity)
    parameters = [a.requires_grad_() for a in (u, w, b)]

    def loss(u, w, b):
        return 0.5 * ((flow(X, u) @ w + b - y) ** 2).mean()

    def scores(u_rows, w, b):
        x1 = flow(X, u_rows)
        return (x1 @ w + b).sum(), x1

    return torch, X, y, parameters, loss, scores


def torch_calls(torch, X, y, parameters, loss, scores):
    u, w, b = parameters

    def gradient():
        value = loss(u, w, b)
        return value.item(), [g.numpy() for g in torch.autograd.grad(value, parameters)]

    def accumulate():
        n = len(X)
        rows = u.detach()[:, None].expand(-1, n, -1).contiguous().requires_grad_()
        total, x1 = scores(rows, w, b)
        J = torch.autograd.grad(total, rows)[0].permute(1, 0, 2).reshape(n, -1)
        with torch.no_grad():
            J = torch.cat([J, x1, torch.ones_like(x1[:, :1])], 1)
            residual = x1 @ w + b - y
            return (J.T @ J / n).numpy(), (residual @ J / n).numpy()

    return gradient, accumulate


def torch_eager(problem):
    return torch_calls(*torch_parts(problem))


def torch_compile(problem):
    torch, X, y, parameters, loss, scores = torch_parts(problem)
    torch._dynamo.reset()
    compile = lambda f: torch.compile(f, fullgraph=True, dynamic=False)  # noqa: E731
    return torch_calls(torch, X, y, parameters, compile(loss), compile(scores))


def torchdiffeq(problem):
    from torchdiffeq import odeint

    def solver(velocity):
        def flow(x, controls):
            import torch

            M = len(controls)
            grid = torch.linspace(0, 1, M + 1, dtype=x.dtype)
            field = lambda t, x: velocity(x, controls[min(int(t * M + 0.5), M - 1)])  # noqa: E731
            return odeint(field, x, grid, method="euler")[-1]

        return flow

    return torch_calls(*torch_parts(problem, solver))


# -- JAX -----------------------------------------------------------------------------------------


def jax_calls(problem, make_flow):
    import jax
    import jax.numpy as jnp

    X, y, u, w, b = (
        jnp.asarray(a)
        for a in (problem.X, problem.y, problem.controls, problem.weights, problem.intercept)
    )
    constants = constants_of(problem, jnp.asarray)

    def loss(parameters, constants, X, y):
        u, w, b = parameters
        flow = make_flow(step_function(jnp, problem, constants))
        return 0.5 * ((flow(X, u) @ w + b - y) ** 2).mean()

    def normal(parameters, constants, X, y):
        u, w, b = parameters
        n = len(X)
        flow = make_flow(step_function(jnp, problem, constants))

        def scores(rows):
            x1 = flow(X, rows)
            return (x1 @ w + b).sum(), x1

        rows = jnp.broadcast_to(u[:, None], (u.shape[0], n, u.shape[1]))
        J, x1 = jax.grad(scores, has_aux=True)(rows)
        J = jnp.concatenate([J.transpose(1, 0, 2).reshape(n, -1), x1, jnp.ones_like(x1[:, :1])], 1)
        return J.T @ J / n, (x1 @ w + b - y) @ J / n

    value_and_grad, normal = jax.jit(jax.value_and_grad(loss)), jax.jit(normal)

    def gradient():
        value, grads = value_and_grad((u, w, b), constants, X, y)
        return float(value), [np.asarray(g) for g in grads]

    def accumulate():
        return [np.asarray(a) for a in normal((u, w, b), constants, X, y)]

    return gradient, accumulate


def jax_jit(problem):
    return jax_calls(problem, lambda velocity: euler(velocity, problem.n_intervals))


def diffrax(problem):
    import diffrax
    import jax.numpy as jnp

    M = problem.n_intervals

    def make_flow(velocity):
        def field(t, x, controls):
            return velocity(x, controls[jnp.minimum((t * M + 0.5).astype(int), M - 1)])

        def flow(x, controls):
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(field),
                diffrax.Euler(),
                0.0,
                1.0,
                None,
                x,
                controls,
                saveat=diffrax.SaveAt(t1=True),
                stepsize_controller=diffrax.StepTo(ts=jnp.linspace(0.0, 1.0, M + 1)),
                adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=M),
                max_steps=M,
            )
            return solution.ys[0]

        return flow

    return jax_calls(problem, make_flow)


#: name, package, constructor
PEERS = {
    "torch": ("torch", torch_eager),
    "torch.compile": ("torch", torch_compile),
    "jax": ("jax", jax_jit),
    "diffrax": ("diffrax", diffrax),
    "torchdiffeq": ("torchdiffeq", torchdiffeq),
}


def installed(names):
    """The peers whose packages are here, and the names of the others."""
    here = [name for name in names if importlib.util.find_spec(PEERS[name][0])]
    return here, [name for name in names if name not in here]


def prepare(n_threads):
    """Two threads and double precision where it is asked for; called before any peer is built."""
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(n_threads)
    if importlib.util.find_spec("jax"):
        import jax

        jax.config.update("jax_enable_x64", True)
