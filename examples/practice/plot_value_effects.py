"""
Values that stand for something else
====================================

A power plant is measured hour by hour, and the hours of a day share what nobody wrote down: the
fuel, the river, who was on duty. The table has a number that is the same all day. Rows of one value
then have more in common than any smooth function of the number can tell. The fit finds that, and
takes what the hours of a day share as an input.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from skcode import ControlledODERegressor

rng = np.random.default_rng(0)
n_days = 200
of_days = rng.standard_normal(n_days)
# a reading of each day, in no order
readings = rng.permutation(np.linspace(30, 80, n_days)).round(2)
day = rng.integers(0, n_days, 1200)
weather = rng.uniform(-1, 1, (1200, 3))
X = np.column_stack([weather, readings[day]])
law = np.sin(2 * weather[:, 0]) + weather[:, 1] * weather[:, 2]
power = law + of_days[day] + 0.2 * rng.standard_normal(1200)

# %%
# Hours left out of days that are there: the effects help, and are close to the truth.

X_train, X_test, y_train, y_test = train_test_split(X, power, random_state=0)
learners = {
    "with effects": ControlledODERegressor(n_members=2, random_state=0),
    "without": ControlledODERegressor(n_members=2, value_effects=False, random_state=0),
    "boosted trees": HistGradientBoostingRegressor(random_state=0),
}
scores = {name: each.fit(X_train, y_train).score(X_test, y_test) for name, each in learners.items()}
for name, score in scores.items():
    print(f"{name:14s} R2 {score:.3f}")
assert scores["with effects"] > max(scores["without"], scores["boosted trees"])

model = learners["with effects"]
(effect,) = model.encoder_.effects
truth = of_days[np.argsort(readings)][np.isin(np.sort(readings).astype(np.float32), effect.values)]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
axes[0].plot(effect.values, effect.table[:, 0], ".", color="C0")
axes[0].set(xlabel="reading of the day", ylabel="effect", title="no function of the reading")
axes[1].plot(truth, effect.table[:, 0], ".", color="C1")
axes[1].set(xlabel="what the hours of a day share", title="but what a day has in common")
assert np.corrcoef(truth, effect.table[:, 0])[0, 1] > 0.9

# %%
# Days that nobody has seen are another matter: their effect is unknown, and zero. Intervals say so,
# as the variance of effects is added to them. Whoever means to predict such days splits by groups.

groups = GroupShuffleSplit(1, test_size=0.25, random_state=0)
train, test = next(groups.split(X, power, day))
model = ControlledODERegressor(n_members=2, random_state=0).fit(X[train], power[train])
mean, deviation = model.predict(X[test], return_std=True)
covered = np.mean(np.abs(power[test] - mean) < 1.645 * deviation)
print(f"new days: R2 {model.score(X[test], power[test]):.3f}, 90 % intervals cover {covered:.0%}")
print(
    f"deviation of new days {deviation.mean():.2f}, and of known ones "
    f"{model.predict(X[train], return_std=True)[1].mean():.2f}"
)
plt.show()

# %%
# When effects are sought, and what becomes of them: :doc:`/tables`.
