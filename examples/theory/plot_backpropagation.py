r"""
Backpropagation by hand
=======================

A loss of a deep network depends on the parameters of its first layer through all layers that
follow. The chain rule, applied from the last layer to the first, yields all derivatives in one
backward pass. This example writes it out, layer by layer, and compares it with automatic
differentiation: first for a feedforward network, then for a controlled ODE, where it is the adjoint
equation.
"""

from itertools import pairwise

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
from autograd import grad

from skcode.fields import NeuralFields
from skcode.flow import flow, trajectory

plt.style.use("tableau-colorblind10")
rng = np.random.default_rng(0)

# %%
# A feedforward network
# ---------------------
# Layers :math:`x(t) = \sigma(z_t)` with :math:`z_t = A_t x(t - 1) + b_t`, :math:`t = 1, \dots, n`,
# a linear readout :math:`g = z_{n+1} = A_{n+1} x(n) + b_{n+1}`, and the cross-entropy
# :math:`\mathcal{L}(g, y) = -\log \mathrm{softmax}(g)_y`, summed over the samples.

n, m, n_classes, n_samples = 6, 5, 3, 40
sizes = [m] * (n + 1) + [n_classes]
layers = [
    (rng.standard_normal((out, into)) / np.sqrt(into), 0.1 * rng.standard_normal(out))
    for into, out in pairwise(sizes)
]
X = rng.standard_normal((n_samples, m))
Y = np.eye(n_classes)[rng.integers(n_classes, size=n_samples)]


def loss(layers):
    x = X
    for A, b in layers[:-1]:
        x = anp.tanh(anp.dot(x, A.T) + b)
    A, b = layers[-1]
    g = anp.dot(x, A.T) + b
    return anp.sum(anp.log(anp.sum(anp.exp(g), axis=1)) - anp.sum(Y * g, axis=1))


# %%
# Forward: keep the states. Backward: start from the output layer, where
# :math:`\partial_g \mathcal{L} = \mathrm{softmax}(g) - y`. With
# :math:`\delta_t = \partial_{z_t} \mathcal{L}`,
#
# .. math:: \partial_{A_t} \mathcal{L} = \delta_t\, x(t-1)^\top, \qquad
#           \partial_{b_t} \mathcal{L} = \delta_t, \qquad
#           \delta_{t} = \mathrm{diag}(\sigma'(z_t))\, A_{t+1}^\top \delta_{t+1}.


def backpropagate(layers):
    """Derivatives by (A_t, b_t), and the norms of delta_t, first layer first."""
    states = [X]
    for A, b in layers[:-1]:
        states.append(np.tanh(states[-1] @ A.T + b))
    A, b = layers[-1]
    scores = np.exp(states[-1] @ A.T + b)
    delta = scores / scores.sum(axis=1, keepdims=True) - Y
    gradients, norms = [], []
    for t in reversed(range(len(layers))):
        gradients.insert(0, (delta.T @ states[t], delta.sum(axis=0)))
        norms.insert(0, np.linalg.norm(delta))
        # tanh' = 1 - tanh^2
        delta = (delta @ layers[t][0]) * (1 - states[t] ** 2)
    return gradients, norms


by_hand, norms = backpropagate(layers)
automatic = grad(loss)(layers)
pairs = [
    (a.ravel(), b.ravel())
    for h, g in zip(by_hand, automatic, strict=True)
    for a, b in zip(h, g, strict=True)
]
hand, auto = (np.concatenate(column) for column in zip(*pairs, strict=True))
print(
    f"feedforward network: {hand.size} derivatives, largest difference {abs(hand - auto).max():.1e}"
)
assert np.allclose(hand, auto, rtol=1e-10, atol=1e-12)

# %%
# A controlled ODE
# ----------------
# Layers are Euler steps now, :math:`x(t+1) = x(t) + h \sum_i u^i_t V_i(x(t))`, and the trained
# parameters are the controls. The same backward pass:
#
# .. math:: p(M) = \partial_{x(M)} \mathcal{L}, \qquad
#           \partial_{u^i_t} \mathcal{L} = h \sum_n \langle p_n(t+1), V_i(x_n(t)) \rangle, \qquad
#           p(t) = p(t+1) + h\, DV_{u_t}(x(t))^\top p(t+1).
#
# `DrawnFields.pullback` is one such product. The flow does all of them in one sweep, and registers
# it with autograd.

fields = NeuralFields(rank=None).draw(n_states=m, n_fields=7, rng=rng)
n_intervals = 30
h = 1 / n_intervals
controls = rng.standard_normal((n_intervals, 7))
targets = rng.standard_normal((n_samples, m))


def distance(controls):
    return 0.5 * anp.sum((flow(fields, X, controls, "euler") - targets) ** 2)


states = trajectory(fields, X, controls, "euler")
p = states[-1] - targets
adjoint_norms = [np.linalg.norm(p)]
by_hand_controls = np.zeros_like(controls)
for t in reversed(range(n_intervals)):
    through_state, through_control = fields.pullback(states[t], controls[t], p)
    by_hand_controls[t] = h * through_control
    p = p + h * through_state
    adjoint_norms.insert(0, np.linalg.norm(p))
automatic_controls = grad(distance)(controls)
difference = abs(by_hand_controls - automatic_controls).max()
print(f"controlled ODE: {controls.size} derivatives, largest difference {difference:.1e}")
assert np.allclose(by_hand_controls, automatic_controls, rtol=1e-10, atol=1e-12)

# %%
# Finite differences, a third opinion:

direction = rng.standard_normal(controls.shape)
step = 1e-5
slope = (distance(controls + step * direction) - distance(controls - step * direction)) / (2 * step)
assert np.isclose(slope, np.sum(automatic_controls * direction), rtol=1e-7)

# %%
# On the way back, the derivatives of the feedforward network shrink from layer to layer. A step of
# a residual network is close to the identity, and so is its transpose: the adjoint keeps its size.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
left.plot(auto, hand, "o", color="C0", ms=6, alpha=0.7, label="feedforward network")
left.plot(
    automatic_controls.ravel(),
    by_hand_controls.ravel(),
    "x",
    color="C1",
    label="controlled ODE",
)
left.axline((0, 0), slope=1, color="C3", lw=0.8, zorder=0)
left.set(title="Derivatives of the loss", xlabel="by autograd", ylabel="by hand, layer by layer")
left.legend()
right.plot(
    np.arange(1, n + 2) / (n + 1),
    np.array(norms) / norms[-1],
    "o-",
    color="C0",
    label=r"feedforward, $\delta_t$",
)
right.plot(
    np.arange(n_intervals + 1) / n_intervals,
    np.array(adjoint_norms) / adjoint_norms[-1],
    "-",
    color="C1",
    lw=2,
    label="controlled ODE, $p(t)$",
)
right.set(
    title="The backward pass",
    xlabel="depth, as a share of the whole",
    ylabel="norm, relative to the output layer",
)
right.grid(alpha=0.4)
right.legend()
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`.
