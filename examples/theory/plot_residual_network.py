r"""
From residual network to ODE
============================

A residual network adds to its input what a layer computes, :math:`x_{t+1} = x_t + h\, V_t(x_t)`.
This is one Euler step for :math:`dX_t = V_t(X_t)\, dt`. With frozen fields and trained controls,

.. math:: V_t(x) = \sum_{i=1}^d u^i_t V_i(x), \qquad V_i(x) = \sigma(C_i x + b_i),

the controls stay what they are while the depth :math:`M` grows, and the network converges to the
flow of the ODE: like :math:`1/M` with Euler steps, faster with steps of higher order.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

from skcode.fields import NeuralFields
from skcode.flow import TABLEAUS, flow, trajectory

plt.style.use("tableau-colorblind10")

# %%
# A network of four layers
# ------------------------
# Seven random fields on the plane, with random controls on four intervals: 28 numbers steer every
# point of the plane.

rng = np.random.default_rng(11)
fields = NeuralFields("tanh", rank=None).draw(n_states=2, n_fields=7, rng=rng)
controls = 2 * rng.standard_normal((4, 7))
angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
x = 0.8 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

# %%
# The flow with Euler steps is the residual network, layer by layer.

layers = x
for u in controls:
    layers = layers + np.einsum("i,nij->nj", u, fields.value(layers)) / len(controls)
assert np.allclose(layers, flow(fields, x, controls, "euler"), rtol=0, atol=1e-12)

# %%
# The same controls, more layers
# ------------------------------
# A network of depth :math:`M = 4k` repeats each row of controls :math:`k` times, with steps of
# length :math:`1/M`. The reference is scipy's method of order 8, interval by interval.

exact = x
for u in controls:
    solution = solve_ivp(
        lambda _, z, u=u: fields.combine(z.reshape(x.shape), u).ravel(),
        (0, 1 / len(controls)),
        exact.ravel(),
        method="DOP853",
        rtol=1e-13,
        atol=1e-13,
    )
    exact = solution.y[:, -1].reshape(x.shape)

repeats = 2 ** np.arange(1, 8)
depths = len(controls) * repeats
errors = {
    name: [
        np.max(abs(flow(fields, x, np.repeat(controls, k, axis=0), name) - exact)) for k in repeats
    ]
    for name in TABLEAUS
}

# %%
# The error falls like :math:`M^{-q}`, with the order :math:`q` of the scheme. The order is the
# slope between the two deepest networks, and it agrees with the theory.

orders = {name: np.log2(e[-2] / e[-1]) for name, e in errors.items()}
for name, tableau in TABLEAUS.items():
    print(f"{name:>8}: order {orders[name]:.3f}, in theory {tableau.order}")
    assert abs(orders[name] - tableau.order) < 0.1

# %%
# Four layers are a poor picture of the flow; sixteen are a fair one. A flow maps a circle to a
# closed curve without crossings, as solutions of an ODE never meet. A network of few layers need
# not.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
for k, style in [(1, ":"), (4, "--")]:
    network = flow(fields, x, np.repeat(controls, k, axis=0))
    left.plot(*np.vstack([network, network[:1]]).T, style, color="C1", label=f"{4 * k} layers")
left.plot(*np.vstack([exact, exact[:1]]).T, color="C0", lw=2, label="ODE")
left.plot(*np.vstack([x, x[:1]]).T, color="C2", lw=2, label="inputs")
paths = trajectory(fields, x[::10], np.repeat(controls, 16, axis=0), "rk4")
left.plot(*paths.transpose(2, 0, 1), color="C0", lw=0.8, alpha=0.6)
left.set(title="A circle of inputs and its images", xlabel="$x^1$", ylabel="$x^2$")
left.set_aspect("equal", "datalim")
left.legend()

for colour, marker, (name, e) in zip(["C0", "C1", "C4", "C3"], "osv^", errors.items(), strict=True):
    right.loglog(
        depths, e, marker=marker, color=colour, label=f"{name}, measured order {orders[name]:.2f}"
    )
right.set(
    title="The network converges to the ODE",
    xlabel="depth $M$",
    ylabel="largest error of the outputs",
)
right.set_xticks(depths, depths)
right.minorticks_off()
right.grid(alpha=0.4)
right.legend(loc="lower left")
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`.
