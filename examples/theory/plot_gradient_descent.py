r"""
Gradient descent: what is guaranteed, and what is not
=====================================================

Gradient descent :math:`\theta^{(k+1)} = \theta^{(k)} - \eta \nabla F(\theta^{(k)})` on a convex
function whose gradient has Lipschitz constant :math:`L`, with step size :math:`\eta \le 1/L`,
satisfies

.. math:: F(\theta^{(k)}) - F(\theta^*) \le \frac{\|\theta^{(0)} - \theta^*\|^2}{2 \eta k}.

A controlled ODE offers both sides: with frozen controls the trained readout is a convex problem;
the controls themselves are not, and the result depends on the start.
"""

import warnings

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
from autograd import value_and_grad
from matplotlib.colors import LogNorm
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from skcode import ControlledODERegressor
from skcode.fields import DrawnPolynomial, Monomials, NeuralFields
from skcode.flow import flow
from skcode.solvers import SGD

plt.style.use("tableau-colorblind10")


def gradient_descent(F, theta, step, n_steps):
    """The iterates, the start included, and their values."""
    derivatives = value_and_grad(F)
    path, values = [theta], []
    for _ in range(n_steps):
        value, gradient = derivatives(path[-1])
        values.append(value)
        path.append(path[-1] - step * gradient)
    return np.array(path), np.array([*values, F(path[-1])])


# %%
# The convex case
# ---------------
# Frozen random controls carry the ten columns of the diabetes data through the flow. A linear
# readout of the final states is fitted by least squares: :math:`F` is a quadratic, :math:`L` the
# largest eigenvalue of its Hessian.

X, y = load_diabetes(return_X_y=True)
X, y = scale(X), scale(y)
rng = np.random.default_rng(0)
fields = NeuralFields(rank=None).draw(n_states=10, n_fields=7, rng=rng)
final = flow(fields, X, rng.standard_normal((10, 7)), "euler")
features = np.column_stack([final, np.ones(len(X))])


def quadratic(theta):
    return 0.5 * anp.mean((anp.dot(features, theta) - y) ** 2)


L = np.linalg.eigvalsh(features.T @ features / len(X))[-1]
best = np.linalg.lstsq(features, y, rcond=None)[0]
start = np.zeros(features.shape[1])
iterations = np.arange(1, 1001)
_, values = gradient_descent(quadratic, start, 1 / L, iterations[-1])
gap = values[1:] - quadratic(best)
bound = np.sum((start - best) ** 2) * L / (2 * iterations)
print(f"after {iterations[-1]} steps: gap {gap[-1]:.1e}, bound {bound[-1]:.1e}")
assert (gap <= bound).all()
assert (np.diff(values) <= 0).all()

# %%
# With a step size above :math:`2/L` nothing is left of the guarantee.

_, diverging = gradient_descent(quadratic, start, 2.1 / L, 200)
assert diverging[-1] > diverging[0]

# %%
# The non-convex case
# -------------------
# Two controls: one turns the plane, :math:`V_1(x) = (-x^2, x^1)`, the other shifts it,
# :math:`V_2(x) = e_1`. Twelve points are to go where the controls (1.5, 2) would take them. A full
# turn more or less can be made up for by another shift, and a small penalty on the controls makes
# some of these valleys deeper than others. The start decides in which one gradient descent ends.

coefficients = np.zeros((2, 2, 3))
coefficients[0, :, 1:] = [[0, -1], [1, 0]]
coefficients[1, 0, 0] = 1
turn_and_shift = DrawnPolynomial(coefficients, Monomials.up_to(degree=1, n_states=2))
points = rng.uniform(-1, 1, (12, 2))
targets = flow(turn_and_shift, points, np.array([[1.5, 2.0]]), "rk4", n_steps=5)


def steering(controls):
    end = flow(turn_and_shift, points, anp.reshape(controls, (1, 2)), "rk4", n_steps=5)
    loss = 0.5 * anp.mean(anp.sum((end - targets) ** 2, axis=1))
    return loss + 0.5 * 0.02 * anp.sum(controls**2)


starts = [(-3.5, 3.0), (-1.5, -3.0), (3.5, 3.5), (4.5, -3.5)]
descents = [gradient_descent(steering, np.array(s), 0.3, 250) for s in starts]
for s, (path, values) in zip(starts, descents, strict=True):
    print(
        f"start {s}: ends at ({path[-1, 0]:.2f}, {path[-1, 1]:.2f}) with objective {values[-1]:.3f}"
    )
losses = np.array([values[-1] for _, values in descents])
assert losses.max() > 3 * losses.min()

# %%
# Stochastic gradient descent
# ---------------------------
# The gradient of a few samples costs little, so that a pass over the data makes many steps. The
# estimators take the solver as a parameter; with all rows in one batch it is gradient descent.

warnings.simplefilter("ignore", ConvergenceWarning)
curves = {}
for name, batch_size in [("all rows", len(X)), ("64 rows", 64), ("8 rows", 8)]:
    model = ControlledODERegressor(
        vector_fields="neural",
        n_fields=32,
        n_members=1,
        solver=SGD(learning_rate_init=0.05, momentum=0.0, batch_size=batch_size),
        alpha=1e-4,
        max_iter=15,
        tol=0.0,
        n_iter_no_change=15,
        random_state=0,
    ).fit(X, y)
    curves[name] = model.loss_curve_
    print(f"{name}: loss {model.loss_curve_[-1]:.3f} after {len(model.loss_curve_)} passes")
# steps of a few rows are fast at first, and noisy later
assert curves["8 rows"][2] < curves["64 rows"][2] < curves["all rows"][2]

# %%

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
left.loglog(
    iterations, bound, "--", color="C1", label=r"bound $\|\theta^{(0)} - \theta^*\|^2 / 2 \eta k$"
)
left.loglog(iterations, gap, color="C0", lw=2, label=r"gap $F(\theta^{(k)}) - F(\theta^*)$")
left.set(title="Convex: the bound holds", xlabel="iteration $k$", ylabel="objective")
left.grid(alpha=0.4)
left.legend(loc="lower left")

turn, shift = np.meshgrid(np.linspace(-9, 9, 31), np.linspace(-8, 8, 27))
surface = [steering(np.array(u)) for u in zip(turn.ravel(), shift.ravel(), strict=True)]
levels = np.geomspace(min(surface), max(surface), 16)
contours = middle.contourf(
    turn, shift, np.reshape(surface, turn.shape), levels, cmap="cividis", norm=LogNorm()
)
figure.colorbar(contours, ax=middle, label="objective", format="%.1f")
for (path, _), loss in zip(descents, losses, strict=True):
    middle.plot(*path.T, color="white", lw=1.5)
    middle.plot(*path[0], "o", color="white", ms=5)
    middle.plot(
        *path[-1], "*" if loss < 1.01 * losses.min() else "X", color="C1", mec="black", ms=12
    )
for marker, name in [("o", "start"), ("*", "best end"), ("X", "worse end")]:
    style = {"ls": "", "color": "white" if marker == "o" else "C1", "mec": "black", "ms": 9}
    middle.plot([], [], marker, label=name, **style)
middle.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)
middle.set(
    title="Not convex: the start decides",
    xlabel="control of the turn",
    ylabel="control of the shift",
)

for (name, curve), style in zip(curves.items(), ["-", "--", "-."], strict=True):
    right.plot(range(1, len(curve) + 1), curve, style, lw=2, label=f"batches of {name}")
right.set(title="Batches of rows", xlabel="passes over the data", ylabel="objective")
right.grid(alpha=0.4)
right.legend()
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`.
