"""Readouts: scores, and their derivatives in the final state and in the parameters."""

import numpy as np
import pytest
from autograd import jacobian

from skcode.readouts import READOUTS, DisplacementReadout, LinearReadout

N, M, K = 5, 4, 3
RNG = np.random.default_rng(0)
X0, X1 = RNG.standard_normal((2, N, M))
every_readout = pytest.mark.parametrize("name", READOUTS)


def readout_of(name, n_inputs=2):
    readout = READOUTS[name](M, K, n_inputs)
    return readout, RNG.standard_normal(readout.n_parameters)


def test_linear_scores_are_affine_in_the_final_state():
    readout, parameters = readout_of("linear")
    fitted = readout.attributes(parameters)
    scores = readout.scores(parameters, X1, X0)
    np.testing.assert_allclose(
        scores, X1 @ fitted["readout_coef_"].T + fitted["readout_intercept_"]
    )
    assert fitted["readout_coef_"].shape == (K, M)
    np.testing.assert_array_equal(readout.scores(parameters, X1, 0 * X0), scores)


def test_displacement_scores_are_lambda_times_the_way():
    readout, parameters = readout_of("displacement")
    assert readout.n_parameters == 1
    np.testing.assert_allclose(readout.scores(parameters, X1, X0), parameters[0] * (X1 - X0)[:, :K])
    assert readout.attributes(parameters)["scale_"] == parameters[0]


@every_readout
def test_the_state_gradient_is_the_derivative_in_the_final_state(name):
    readout, parameters = readout_of(name)
    exact = jacobian(lambda x1: readout.scores(parameters, x1, X0[:1]))(X1[:1])[0, :, 0]
    np.testing.assert_allclose(readout.state_gradient(parameters), exact)


@every_readout
def test_features_are_the_derivative_in_the_parameters(name):
    readout, parameters = readout_of(name)
    exact = jacobian(lambda parameters: readout.scores(parameters, X1, X0))(parameters)
    features = np.broadcast_to(readout.features(X1.T, X0.T), (K, readout.index.shape[1], N))
    ours = np.zeros_like(exact)
    for k, index in enumerate(readout.index):
        ours[:, k, index] = features[k].T
    np.testing.assert_allclose(ours, exact)


@every_readout
def test_single_precision_stays(name):
    readout, parameters = readout_of(name)
    x0, x1, parameters = (a.astype(np.float32) for a in (X0, X1, parameters))
    assert readout.scores(parameters, x1, x0).dtype == np.float32
    assert readout.state_gradient(parameters).dtype == np.float32
    assert readout.features(x1.T, x0.T).dtype == np.float32


def test_a_linear_readout_starts_at_the_constant():
    constant = np.array([1.0, -2.0, 3.0])
    readout = LinearReadout(M, K)
    scores = readout.scores(readout.initial(constant), X1, X0)
    np.testing.assert_array_equal(scores, np.broadcast_to(constant, (N, K)))


def test_the_penalty_counts_weights_and_no_intercept():
    readout, parameters = readout_of("linear")
    fitted = readout.attributes(parameters)
    np.testing.assert_array_equal(parameters[readout.penalised], fitted["readout_coef_"].ravel())
    np.testing.assert_array_equal(parameters[~readout.penalised], fitted["readout_intercept_"])
    assert not DisplacementReadout(M, K).penalised.any()


@every_readout
def test_groups_tell_inputs_from_other_states(name):
    readout, parameters = readout_of(name, n_inputs=2)
    assert len(readout.groups) == readout.n_parameters
    named = np.array([bool(group) for group in readout.groups])
    np.testing.assert_array_equal(named, readout.penalised)
    if name == "linear":
        inputs = parameters[np.array(readout.groups) == "input weights"]
        np.testing.assert_array_equal(
            inputs, readout.attributes(parameters)["readout_coef_"][:, :2].ravel()
        )


def test_more_outputs_than_states_are_an_error_that_says_so():
    with pytest.raises(ValueError, match="readout='displacement' reads output j from state j: 5"):
        DisplacementReadout(4, 5)
    assert LinearReadout(4, 5).n_parameters == 25
