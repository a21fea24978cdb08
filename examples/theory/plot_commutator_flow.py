r"""
Four moves that do not cancel
=============================

Go along :math:`W`, along :math:`V`, back along :math:`W`, back along :math:`V`, for a time
:math:`t` each. If the fields commute, this leads back to the start. If they do not, it moves the
point along their Lie bracket. For linear fields :math:`V(x) = Ax` and :math:`W(x) = Bx`:

.. math:: e^{-tA} e^{-tB} e^{tA} e^{tB} x = x + t^2 (AB - BA)\, x + O(t^3).

The direction is a new one, which neither field has: this is why few fields steer so much.

**The sign.** skcode defines :math:`[V, W](x) = DW(x) V(x) - DV(x) W(x)`. For linear fields this is
:math:`(BA - AB) x`. The move above therefore goes along :math:`[W, V] = -[V, W]`. Texts that write
:math:`[V, W] = (AB - BA) x` for linear fields use the other sign; the formula of the move is the
same in both.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import expm

from skcode.fields import FunctionFields, NeuralFields
from skcode.flow import flow, trajectory
from skcode.geometry import lie_bracket, vector_fields

plt.style.use("tableau-colorblind10")

# %%
# The moves as controls
# ---------------------
# Four intervals of length 1/4, two fields. The product of exponentials acts from the right: the
# first move is the one along :math:`W`.

MOVES = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])


def four_moves(fields, x, t):
    """The end of the four moves, each of time t."""
    return flow(fields, x, 4 * t * MOVES, "rk4", n_steps=32)


# %%
# A rotation and a shear do not commute.

A = np.array([[0.0, -1.0], [1.0, 0.0]])
B = np.array([[0.0, 1.0], [0.0, 0.0]])
linear = FunctionFields([lambda x: x @ A.T, lambda x: x @ B.T]).draw(n_states=2)
x = np.array([[1.0, 0.5]])

t = 0.1
product = expm(-t * A) @ expm(-t * B) @ expm(t * A) @ expm(t * B)
assert np.allclose(four_moves(linear, x, t), x @ product.T, rtol=0, atol=1e-10)
assert np.allclose(lie_bracket(A, B)(x), x @ (B @ A - A @ B).T)
assert np.allclose(lie_bracket(B, A)(x), x @ (A @ B - B @ A).T)

# %%
# The law of the square
# ---------------------
# The displacement is :math:`t^2 [W, V](x)` up to a remainder of order :math:`t^3`: for the linear
# pair, and just so for two random neural fields, whose bracket `lie_bracket` takes by automatic
# differentiation.

neural = NeuralFields(rank=None).draw(n_states=2, n_fields=2, rng=0)
times = 2.0 ** -np.arange(1, 9)
pairs = {"linear": (linear, (A, B)), "neural": (neural, vector_fields(neural))}
displacements, remainders = {}, {}
for name, (fields, (V, W)) in pairs.items():
    moved = np.array([(four_moves(fields, x, t) - x)[0] for t in times])
    law = times[:, None] ** 2 * lie_bracket(W, V)(x)
    displacements[name] = np.linalg.norm(moved, axis=1)
    remainders[name] = np.linalg.norm(moved - law, axis=1)
    slopes = [np.log2(e[-2] / e[-1]) for e in (displacements[name], remainders[name])]
    print(f"{name}: displacement like t^{slopes[0]:.2f}, remainder like t^{slopes[1]:.2f}")
    assert np.allclose(slopes, [2, 3], atol=0.05)

# %%
# With the other sign the remainder would be of order :math:`t^2`: the test tells the two apart.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
t = 0.25
path = trajectory(linear, x, np.repeat(4 * t * MOVES, 25, axis=0), "rk4")[:, 0]
names = ["$e^{tB}$", "$e^{tA}$", "$e^{-tB}$", "$e^{-tA}$"]
for k, (colour, name) in enumerate(zip(["C0", "C1", "C4", "C5"], names, strict=True)):
    piece = path[25 * k : 25 * k + 26]
    left.plot(*piece.T, color=colour, lw=2, label=f"move {k + 1}: {name}")
    left.annotate("", piece[14], piece[11], arrowprops={"arrowstyle": "-|>", "color": colour})
left.plot(*x[0], "o", color="C3", ms=7)
left.annotate("start", x[0], xytext=(4, 8), textcoords="offset points")
left.plot(*path[-1], "s", color="C3", ms=7)
left.annotate("end", path[-1], xytext=(8, -4), textcoords="offset points")
bracket = t**2 * lie_bracket(B, A)(x)[0]
left.annotate(
    "", x[0] + bracket, x[0], arrowprops={"arrowstyle": "-|>", "lw": 2, "ls": "--", "color": "C3"}
)
left.plot([], [], "--", color="C3", lw=2, label="$t^2 (AB - BA)\\, x$")
left.set(title=f"Four moves, $t = {t}$", xlabel="$x^1$", ylabel="$x^2$")
left.set_aspect("equal", "datalim")
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)

for name, colour in zip(pairs, ["C0", "C1"], strict=True):
    right.loglog(times, displacements[name], "o-", color=colour, label=f"displacement, {name}")
    right.loglog(times, remainders[name], "s--", color=colour, label=f"remainder, {name}")
for power, anchor in [(2, 2.0), (3, 0.05)]:
    right.loglog(times, anchor * times**power, ":", color="C3", lw=1)
    right.annotate(
        f"$t^{power}$",
        (times[3], anchor * times[3] ** power),
        xytext=(0, 6 if power == 2 else -14),
        textcoords="offset points",
    )
right.set(title="Displacement and remainder", xlabel="time $t$ of a move", ylabel="length")
right.grid(alpha=0.4)
right.legend()
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`.
