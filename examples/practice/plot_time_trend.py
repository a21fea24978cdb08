"""
A trend in time
===============

A season on top of a trend, and a forecast of the half year to come. Predictions of the model follow
a trend some way beyond the days that it has seen, and then less and less; a straight line goes on.
So the line takes the trend, and the model the rest.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LinearRegression

from skcode import ControlledODERegressor

rng = np.random.default_rng(0)
day = np.arange(830)
season = 2 * np.pi * day / 365.25
calendar = np.column_stack([np.sin(season), np.cos(season)])
# a sharp winter peak, which no line in sine and cosine has
load = 10 + 0.008 * day + 3 * np.exp(2 * np.cos(season) - 2) + 0.3 * rng.standard_normal(830)
past, future = day < 650, day >= 650

# %%
# The model alone, with the day as a column beside the calendar:

columns = np.column_stack([day, calendar])
alone = ControlledODERegressor(n_members=2, random_state=0).fit(columns[past], load[past])

# %%
# The trend by a linear model, which sees the season as well, lest it takes it for a trend; the rest
# by the calendar alone.

line = LinearRegression().fit(columns[past], load[past])
rest = ControlledODERegressor(n_members=2, random_state=0)
rest.fit(calendar[past], load[past] - line.predict(columns[past]))

forecasts = {
    "the model alone": alone.predict(columns),
    "trend by a line, rest by the model": line.predict(columns) + rest.predict(calendar),
}
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.plot(day, load, ".", ms=2, color="0.6", label="data")
errors = {}
for k, (name, forecast) in enumerate(forecasts.items()):
    errors[name] = np.sqrt(np.mean((forecast - load)[future] ** 2))
    ax.plot(day[future], forecast[future], color=f"C{k}", lw=2, label=name)
    print(f"{name}: error {errors[name]:.2f} (the noise is 0.30)")
ax.axvline(650, color="0.5", lw=1, ls="--")
ax.set(xlabel="day", ylabel="load")
ax.legend(frameon=False, loc="upper left")
assert errors["trend by a line, rest by the model"] < errors["the model alone"]
plt.show()

# %%
# Splits that leave out the future, lags and differences: :doc:`/time_trends`.
