r"""
Looking at a controlled ODE
===========================

The displays of :mod:`skcode.plotting`, on two moons in the plane: the flow
:math:`dX_t = \sum_i u^i_t V_i(X_t)\,dt` of seven random, frozen vector fields carries the samples
to where a straight line divides them.
"""

import matplotlib.pyplot as plt
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import make_moons

from skcode import ControlledODEClassifier
from skcode.fields import NeuralFields
from skcode.plotting import BracketRankDisplay, ControlsDisplay, FlowDisplay, LossCurveDisplay
from skcode.solvers import Adam

X, y = make_moons(300, noise=0.1, random_state=0)
model = ControlledODEClassifier(
    vector_fields=NeuralFields(rank=None),
    n_fields=7,
    n_intervals=20,
    n_states=2,
    readout="linear",
    n_members=1,
    integrator="rk4",
    alpha=1e-3,
    max_iter=300,
    random_state=0,
).fit(X, y)
assert model.score(X, y) > 0.98
print(f"accuracy {model.score(X, y):.3f} with {model.n_parameters_} trained numbers")

# %%
# The flow through time
# ---------------------
# The region of a state at time t is what the model predicts where the flow from there ends. At the
# start these are the regions of the model, at the end the half-planes of the readout.

flow = FlowDisplay.from_estimator(model, X, y)

# sphinx_gallery_thumbnail_number = 2

# %%
# One moment with trajectories and the vector field that acts there:

flow.plot(time=0.5, paths=True, field=True)

# %%
# The same as an animation:

animation = flow.animate(frames_between=1)

# %%
# The controls
# ------------
# They are constant on each of 20 intervals: steps, or rows of a heat map.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
ControlsDisplay.from_estimator(model, ax=left)
ControlsDisplay.from_estimator(model, ax=right, kind="steps")

# %%
# Training
# --------
# Gauss-Newton finds penalties from the data, and lowers minus the log evidence. Beside it two
# members trained by Adam, with a validation part each: dots mark what is kept.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
by_evidence = ControlledODEClassifier(n_members=3, random_state=0).fit(X, y)
LossCurveDisplay.from_estimator(by_evidence, ax=left)
ensemble = ControlledODEClassifier(
    vector_fields="neural",
    n_fields=32,
    n_members=2,
    solver=Adam(learning_rate_init=0.02),
    early_stopping=True,
    random_state=0,
).fit(X, y)
LossCurveDisplay.from_estimator(ensemble, ax=right)

# %%
# Brackets
# --------
# The rank of the iterated Lie brackets of the seven fields at ten points: once it is full, the
# points can be steered all at once.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
ranks = BracketRankDisplay.from_estimator(model, X[:10], depth=3, ax=left)
ranks.plot(right, kind="singular values")

# %%
# Probabilities
# -------------
# Displays of scikit-learn take our estimators, for instance the one for calibration.

X_new, y_new = make_moons(2000, noise=0.25, random_state=1)
wide = ControlledODEClassifier(random_state=0).fit(*make_moons(300, noise=0.25, random_state=2))
CalibrationDisplay.from_estimator(wide, X_new, y_new, n_bins=8)
plt.show()

# %%
# What each display shows, and how to read it: :doc:`/pictures`.
