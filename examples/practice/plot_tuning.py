"""
Tuning in three steps
=====================

Depth first, then the number of fields, then the size of their weights: each with what the step
before found, and with one member, as what suits one suits all. The last fit takes the default
number of members.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_friedman1
from sklearn.model_selection import GridSearchCV, train_test_split

from skcode import ControlledODERegressor
from skcode.fields import DiagonalFields, NeuralFields

X, y = make_friedman1(300, noise=1.0, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

fields = DiagonalFields() | NeuralFields(rank=1, sparse=0.5, centred=True)
# fields that are named have as many states as columns; the default has 64 for few columns
model = ControlledODERegressor(fields, n_states=64, n_members=1, random_state=0)
steps = [
    ("n_intervals", [1, 2, 3]),
    ("n_fields", [32, 64, 128]),
    ("vector_fields__second__scale", [0.5, 1.0, 2.0]),
]

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
position, ticks, names = 0, [], []
for name, values in steps:
    search = GridSearchCV(model, {name: values}, cv=3).fit(X_train, y_train)
    model.set_params(**search.best_params_)
    mean, std = (search.cv_results_[key] for key in ("mean_test_score", "std_test_score"))
    places = range(position, position + len(values))
    ax.errorbar(places, mean, std / 3**0.5, marker="o", capsize=3, label=name.split("__")[-1])
    ticks += places
    names += values
    position += len(values) + 1
    print(f"{name} = {search.best_params_[name]}: R2 {search.best_score_:.3f}")
ax.set(xticks=ticks, xticklabels=names, ylabel="R2, mean of three folds")
ax.legend(frameon=False, title="step")

# %%
# Error bars are standard errors over folds. Differences within them are no findings: where a step
# shows nothing else, keep the default. With so few rows a search often ends where it began, or
# below; what it is good for is to see whether anything matters at all.

default = ControlledODERegressor(random_state=0).fit(X_train, y_train).score(X_test, y_test)
tuned = model.set_params(n_members=6).fit(X_train, y_train).score(X_test, y_test)
print(f"rows left out: R2 {default:.3f} at defaults, {tuned:.3f} after the search")
assert tuned > 0.8
plt.show()

# %%
# What to turn when, and why, is in :doc:`/tuning`.
