"""
Digits and images
=================

Images are rows of pixels, so that any model takes them; a model that knows about neighbours needs
far fewer trained numbers. Here frozen random filters look at 8 x 8 digits, trained controls weigh
the filters, and a linear readout sees what they have found in each of sixteen windows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skcode import ControlledODEClassifier
from skcode.fields import FilterFields
from skcode.solvers import Adam

X, y = load_digits(return_X_y=True)
X = X.astype(np.uint8)  # bytes stay bytes
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=500, random_state=0)

# %%
# Accuracy by trained numbers
# ---------------------------
# A channel is a map that several filters add to; it is pooled into 4 x 4 windows.


def model_of(n_channels, n_fields):
    family = FilterFields(image_shape=(8, 8), kernel_size=3, pooling=4)
    return ControlledODEClassifier(
        family,
        n_states=family.n_states(n_channels=n_channels),
        n_fields=n_fields,
        n_intervals=1,
        n_members=1,
        scaling="common",  # one scale for all pixels
        solver=Adam("cosine", start_readout=True),
        alpha=1e-5,
        max_iter=30,
        tol=0.0,
        random_state=0,
    )


numbers, scores = [], []
for n_channels in (1, 2, 4, 8):
    model = model_of(n_channels, 8 * n_channels).fit(X_train, y_train)
    numbers.append(model.n_parameters_)
    scores.append(model.score(X_test, y_test))
    print(f"{numbers[-1]:5} trained numbers: accuracy {scores[-1]:.3f}")

pixels = LogisticRegression(max_iter=2000).fit(X_train / 16, y_train)
n_pixels = pixels.coef_.size + pixels.intercept_.size
score = pixels.score(X_test / 16, y_test)
print(f"{n_pixels:5} numbers of a logistic regression on pixels: {score:.3f}")

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(numbers, scores, "o-", label="random filters, trained controls")
ax.plot(n_pixels, score, "s", label="logistic regression on pixels")
ax.set(xscale="log", xlabel="trained numbers", ylabel="accuracy on images left out")
ax.set_xticks([200, 400, 800, 1600], [200, 400, 800, 1600])
ax.minorticks_off()
ax.legend(frameon=False, loc="lower right")
assert scores[-1] > score

# %%
# The images that it is least sure of
# -----------------------------------
# Probabilities say where a person should look.

probabilities = model.predict_proba(X_test)
doubtful = np.argsort(probabilities.max(axis=1))[:10]
fig, axes = plt.subplots(2, 5, figsize=(7, 3.6), layout="constrained")
for ax, row in zip(axes.flat, doubtful, strict=True):
    ax.imshow(X_test[row].reshape(8, 8), cmap="gray_r")
    best = probabilities[row].argmax()
    right = best == y_test[row]
    title = f"{best} ({probabilities[row, best]:.0%})" + ("" if right else f", is {y_test[row]}")
    ax.set_title(title, color="black" if right else "C3", fontsize=10)
    ax.axis("off")

# sphinx_gallery_thumbnail_number = 2

plt.show()

# %%
# Larger images, colours, convolutions and MNIST are in :doc:`/images`.
