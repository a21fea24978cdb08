r"""
How deep do brackets have to go?
================================

All :math:`N` points see the same controls: the stacked system lives on :math:`(\mathbb{R}^m)^N` and
its fields are :math:`V_i^{\oplus N}(\bar x) = (V_i(x_1), \dots, V_i(x_N))`. If their iterated
brackets span all :math:`N m` dimensions at every tuple of distinct points, the points can be
steered all at once (for :math:`m \ge 2`). `hormander_rank` computes the dimension by the depth of
the brackets, the number of fields in each.
"""

import matplotlib.pyplot as plt
import numpy as np

from skcode.fields import AffineFields, NeuralFields, PolynomialFields, UniversalFields
from skcode.flow import trajectory
from skcode.geometry import generates_polynomials, hormander_rank, interpolate

plt.style.use("tableau-colorblind10")

# %%
# The five explicit fields
# ------------------------
# The theorem names five fields: :math:`Ax`, :math:`Bx` with traceless :math:`A, B`, the constant
# :math:`e_m`, :math:`(x^m)^2 e_1` and :math:`x^m x`. Their brackets give all polynomial fields,
# here up to degree six, and those interpolate at any number of points.

universal = UniversalFields().draw(n_states=2, rng=0)
generated = generates_polynomials(universal, degree=6)
print("generated polynomial fields by degree", generated.dimensions)
assert generated.complete

# %%
# Explicit against random
# -----------------------
# Two cubic fields, five quadratic ones, and seven neurons with quadratic activations (the
# corollary's), all with random coefficients. Affine fields are a family that fails: their brackets
# are affine again, six dimensions in the plane, whatever the depth.

points = np.random.default_rng(0).random((12, 2))
families = {
    "five explicit": universal,
    "five random quadratic": PolynomialFields(degree=2).draw(2, 5, rng=1),
    "seven random neurons": NeuralFields("polynomial", rank=None).draw(2, 7, rng=1),
    "two random cubic": PolynomialFields(degree=3).draw(2, 2, rng=1),
    "five random affine": AffineFields().draw(2, 5, rng=1),
}
depths = {name: 6 if name == "two random cubic" else 5 for name in families}
results = {
    name: [hormander_rank(fields, points[:N], depths[name]) for N in range(1, 11)]
    for name, fields in families.items()
}
for name, column in results.items():
    print(f"{name:>22}, N = 10: ranks {column[-1].ranks} of {column[-1].dimension}")

# %%
# Random fields waste nothing: every bracket of the free Lie algebra adds a dimension until all are
# reached. The explicit fields are special, and their brackets partly coincide: they need more
# depth. Universal is one thing, economical another.

for name in ("five random quadratic", "two random cubic"):
    for result in results[name]:
        counts = np.minimum(result.n_brackets, result.dimension)
        assert result.ranks == tuple(counts)
assert all(result.full for result in results["five explicit"])
assert results["five explicit"][-1].step > results["five random quadratic"][-1].step
assert results["five random affine"][-1].ranks[-1] == 6

# %%
# Ranks are counts of singular values above what rounding can do. In small cases rational arithmetic
# leaves no doubt.

for fields in (universal, families["two random cubic"]):
    rounded = hormander_rank(fields, points[:3], depth=4)
    assert rounded.ranks == hormander_rank(fields, points[:3], depth=4, exact=True).ranks

# %%
# Why one dimension fails
# -----------------------
# On the line the rank is full as well. But flows of the line keep the order of points: the distinct
# tuples fall into pieces, one for each order, and no flow leads from one to the other.

line = NeuralFields(rank=None).draw(n_states=1, n_fields=5, rng=0)
starts = np.linspace(-1, 1, 7)[:, None]
assert hormander_rank(line, starts, depth=3).full

controls = 6 * np.random.default_rng(0).standard_normal((40, 5))
states = trajectory(line, starts, controls, "rk4", n_steps=4)[:, :, 0]
assert (np.diff(states, axis=1) > 0).all()
exchange = interpolate(line, [[-0.5], [0.5]], [[0.5], [-0.5]])
print(exchange.message)
assert not exchange.success

# %%
# With a second coordinate the two points pass around each other.

plane = NeuralFields(rank=None).draw(n_states=2, n_fields=7, rng=0)
exchange = interpolate(plane, [[-0.5, 0], [0.5, 0]], [[0.5, 0], [-0.5, 0]], n_intervals=10)
print(exchange.message)
assert exchange.success

# %%

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.5), layout="constrained")
styles = zip(["C1", "C0", "C4", "C3", "C6"], ["o", "s", "D", "^", "x"], strict=True)
for (name, column), (colour, marker) in zip(results.items(), styles, strict=True):
    ranks = column[-1].ranks
    left.plot(range(1, len(ranks) + 1), ranks, marker=marker, color=colour, label=name)
    steps = [(N, result.step) for N, result in enumerate(column, 1) if result.full]
    middle.plot(*zip(*steps, strict=True), marker=marker, color=colour, label=name)
left.axhline(20, color="C3", lw=1, ls=":")
left.annotate("all 20 dimensions", (1, 20), xytext=(0, 4), textcoords="offset points")
left.set(title="Ten points in the plane", xlabel="depth of the brackets", ylabel="rank")
left.set(ylim=(0, 22.5), yticks=range(0, 21, 5))
middle.set(title="Depth at which the rank is full", xlabel="number of points $N$", ylabel="depth")
middle.annotate("affine: never\nbeyond $N = 3$", (3, 2), xytext=(3.4, 1.2))
middle.set_xticks(range(1, 11))
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
right.plot(np.linspace(0, 1, len(states)), states, color="C0")
right.set(title="On the line the order stays", xlabel="time $t$", ylabel="$X_t$")
for ax in (left, middle):
    ax.grid(alpha=0.4)
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`. How it is computed: :doc:`/interpolation`.
