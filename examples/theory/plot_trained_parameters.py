r"""
Few trained parameters
======================

With :math:`M` intervals and :math:`d` random fields, the theorem's network

.. math:: \hat y = \lambda\, (X_1 - x), \qquad dX_t = \sum_{i=1}^d u^i_t V_i(X_t)\, dt

has :math:`M d + 1` trained parameters: the controls and :math:`\lambda`. The fields have many more
parameters, which stay as they were drawn. How many trained ones do real data need?
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from skcode import ControlledODEClassifier
from skcode.fields import NeuralFields

plt.style.use("tableau-colorblind10")
# a fixed number of iterations is all that the comparison wants
warnings.simplefilter("ignore", ConvergenceWarning)

# %%
# Handwritten digits
# ------------------
# 1,000 images of 8 x 8 pixels train, 797 test: a small relative of MNIST that comes with
# scikit-learn. The state is the image, 64 numbers; the score of digit :math:`k` is
# :math:`\lambda` times the displacement of coordinate :math:`k`. Everything the network knows is in
# its controls.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=1000, random_state=0, stratify=y
)
n_intervals, m = 4, X.shape[1]
trained, frozen, accuracy = [], [], []
for n_fields in (4, 16, 64, 256):
    model = ControlledODEClassifier(
        vector_fields=NeuralFields(rank=1),
        n_fields=n_fields,
        n_intervals=n_intervals,
        n_members=1,
        readout="displacement",
        solver="lbfgs",
        scaling="standard",
        max_iter=40,
        random_state=0,
    ).fit(X_train, y_train)
    assert model.n_parameters_ == n_intervals * n_fields + 1
    trained.append(model.n_parameters_)
    # each neuron b sigma(<a, x> + c) has two vectors and a bias
    frozen.append(n_fields * (2 * m + 1))
    accuracy.append(model.score(X_test, y_test))
    print(
        f"{n_fields:>4} fields: {trained[-1]:>5} trained, {frozen[-1]:>6} frozen parameters, "
        f"test accuracy {accuracy[-1]:.3f}"
    )

# %%
# A network that is trained in full
# ---------------------------------
# One hidden layer of :math:`h` neurons has :math:`64 h + h + 10 h + 10` parameters, all trained.

scaler = StandardScaler().fit(X_train)
hidden, full_size, full_accuracy = (1, 3, 7, 14), [], []
for h in hidden:
    network = MLPClassifier((h,), solver="lbfgs", alpha=0.1, max_iter=200, random_state=0)
    network.fit(scaler.transform(X_train), y_train)
    full_size.append(sum(a.size for a in network.coefs_ + network.intercepts_))
    full_accuracy.append(network.score(scaler.transform(X_test), y_test))
    assert full_size[-1] == 75 * h + 10
    print(f"{h:>4} neurons: {full_size[-1]:>5} trained, test accuracy {full_accuracy[-1]:.3f}")

# %%
# More trained controls, better predictions, from fields that were never touched. At two to three
# hundred trained parameters the two are level; with more of them, the network that may move all of
# its parameters is ahead.

assert accuracy == sorted(accuracy)
assert accuracy[-1] > 0.85

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
left.semilogx(trained, accuracy, "o-", color="C0", label="controlled ODE, $M d + 1$")
left.semilogx(full_size, full_accuracy, "s--", color="C1", label="one hidden layer, all trained")
left.axhline(0.1, color="C3", lw=1, ls=":", label="guessing")
left.set(
    title="Accuracy by trained parameters",
    xlabel="number of trained parameters",
    ylabel="test accuracy",
    ylim=(0, 1),
)
left.grid(alpha=0.4)
left.legend(loc="lower right")

positions = range(len(trained))
right.bar([p - 0.2 for p in positions], trained, 0.4, color="C0", label="trained, $M d + 1$")
right.bar([p + 0.2 for p in positions], frozen, 0.4, color="C2", label="frozen, in the fields")
for p, (a, b) in enumerate(zip(trained, frozen, strict=True)):
    right.annotate(f"{a:,}", (p - 0.2, a), ha="center", va="bottom")
    right.annotate(f"{b:,}", (p + 0.2, b), ha="center", va="bottom")
right.set_yscale("log")
right.set_ylim(5, 2e5)
right.set_xticks(positions, [(a - 1) // n_intervals for a in trained])
right.set(
    title=f"Where the parameters are, $M = {n_intervals}$",
    xlabel="number of fields $d$",
    ylabel="number of parameters",
)
right.legend(loc="upper left")
plt.show()

# %%
# The statement, and those around it: :doc:`/lecture`.
