"""
Many rows
=========

Up to 7,500 rows every row is a point of one Gaussian process; beyond, it is exact within leaves of
near rows, and time grows in proportion to the rows. ``partial_fit`` needs no more than a batch in
memory.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_friedman1

from skcode import ControlledODERegressor
from skcode.solvers import Adam

X, y = make_friedman1(12_000, noise=1.0, random_state=0)
X, y = X.astype(np.float32), y.astype(np.float32)
X, y, X_test, y_test = X[:10_000], y[:10_000], X[10_000:], y[10_000:]

# %%
# Batch
# -----
# A linear readout is the cheap choice where rows are many; single precision stays single.

rows, scores, seconds = [1_000, 3_000, 10_000], [], []
for n in rows:
    model = ControlledODERegressor(n_members=1, readout="linear", random_state=0)
    start = time.perf_counter()
    scores.append(model.fit(X[:n], y[:n]).score(X_test, y_test))
    seconds.append(time.perf_counter() - start)
    print(f"{n:6,} rows: R2 {scores[-1]:.3f}, {seconds[-1]:.2f} s")
assert model.predict(X_test).dtype == np.float32
assert scores[-1] > scores[0]

# %%
# Stream
# ------
# The first batch sets the scales and draws the fields; then each is seen once or more.

stream = ControlledODERegressor(n_members=1, solver=Adam(learning_rate_init=0.01), random_state=0)
seen, streamed = [], []
for start in range(0, 10_000, 1_000):
    batch = slice(start, start + 1_000)
    for _ in range(3):
        stream.partial_fit(X[batch], y[batch])
    seen.append(start + 1_000)
    streamed.append(stream.score(X_test, y_test))

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(rows, scores, "o-", label="fit, Gauss-Newton")
ax.plot(seen, streamed, ".-", label="partial_fit, Adam")
ax.set(xscale="log", xlabel="rows", ylabel="R2 on rows left out", ylim=(0.5, 1))
ax.legend(frameon=False)
plt.show()

# %%
# More cores, memory maps and clusters are in :doc:`/scaling`, times in :doc:`/fit_times`.
