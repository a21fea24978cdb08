"""
A pipeline to ONNX
==================

Fit in Python, predict where there is none: the whole pipeline becomes one graph. It needs ``pip
install "skcode[onnx]"``.
"""

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcode import ControlledODEClassifier
from skcode.export import to_onnx

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
pipeline = make_pipeline(StandardScaler(), ControlledODEClassifier(n_members=2, random_state=0))
pipeline.fit(X_train, y_train)

graph = to_onnx(pipeline)
data = graph.SerializeToString()
print(f"{len(data) / 1000:.0f} kB, {len(graph.graph.node)} nodes")

# %%
# A runtime reads the bytes, in whatever language it is written in.

session = onnxruntime.InferenceSession(data)
outputs = [output.name for output in session.get_outputs()]
label, probabilities = session.run(None, {session.get_inputs()[0].name: X_test})
print(outputs, label[:5], np.asarray(probabilities)[:2].round(3))

# %%
# The numbers are those of Python, up to rounding.

expected = pipeline.predict_proba(X_test)[:, 1]
error = np.abs(np.asarray(probabilities)[:, 1] - expected)
assert np.array_equal(label, pipeline.predict(X_test))
assert error.max() < 1e-6

fig, ax = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
ax.plot([0, 1], [0, 1], color="0.7", lw=1)
ax.scatter(expected, np.asarray(probabilities)[:, 1], s=18, c=y_test, cmap="coolwarm")
ax.set(xlabel="predict_proba", ylabel="the graph", title=f"largest difference {error.max():.0e}")
plt.show()

# %%
# Files, sizes and what a graph cannot hold are in :doc:`/travel`.
