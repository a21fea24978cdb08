"""Fields under many controls at once: values, flows and their derivatives."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import EVERY_FAMILY, draw, relative_error
from numpy.testing import assert_allclose

from skcode.fields import UniversalFields
from skcode.geometry.interpolation._batched_families import (
    BatchedGeneral,
    BatchedNeural,
    BatchedPolynomials,
    batched_fields,
)
from skcode.geometry.interpolation._tuning import CACHE

SMOOTH = [name for name in EVERY_FAMILY if "relu" not in name]
N_GROUPS, N_POINTS = 3, 4


def groups(fields, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.5, 0.5, (N_GROUPS, N_POINTS, fields.n_states))
    return x, 0.1 * rng.standard_normal((N_GROUPS, fields.n_fields))


@pytest.mark.parametrize("family", SMOOTH)
def test_groups_agree_with_the_fields(family):
    fields = draw(family)
    x, w = groups(fields)
    direction = np.random.default_rng(1).standard_normal(x.shape[1:])
    for many in (batched_fields(fields), BatchedGeneral(fields)):
        bound = many.bind(w)
        velocity, derivative = many.velocity(bound, x), many.derivative(bound, x)
        for one, other in zip(
            many.local(bound, x), (velocity, derivative, many.values(x)), strict=True
        ):
            assert_allclose(one, other, atol=1e-14)
        assert_allclose(many.tangent(bound, x)[1], derivative, atol=1e-14)
        for g in range(N_GROUPS):
            assert_allclose(many.values(x)[g], np.swapaxes(fields.value(x[g]), 1, 2), atol=1e-13)
            assert_allclose(velocity[g], fields.combine(x[g], w[g]), atol=1e-13)
            along = (derivative[g] @ direction[..., None])[..., 0]
            assert_allclose(along, fields.pushforward(x[g], w[g], direction), atol=1e-13)


@pytest.mark.parametrize("family", ["universal", "polynomial activation", "full rank", "functions"])
def test_linearised_flow_against_differences(family):
    fields = draw(family)
    many = batched_fields(fields)
    x, w = groups(fields)
    rng = np.random.default_rng(2)
    dx, dw, eps = rng.standard_normal(x.shape), rng.standard_normal(w.shape), 1e-6
    A, B = many.linearised_flow(w, x, 2)
    assert_allclose(many.tangent_flow(w, x, 2), A, atol=1e-13)
    forth = many.flow(w + eps * dw, x + eps * dx, 2)
    back = many.flow(w - eps * dw, x - eps * dx, 2)
    tangent = (A @ dx[..., None] + B @ dw[:, None, :, None])[..., 0]
    assert relative_error((forth - back) / (2 * eps), tangent) < 1e-7


def test_each_kind_takes_its_fast_path():
    assert isinstance(batched_fields(draw("universal")), BatchedPolynomials)
    assert isinstance(batched_fields(draw("full rank")), BatchedNeural)
    assert isinstance(batched_fields(draw("functions")), BatchedGeneral)


@pytest.mark.parametrize("family", ["rank 1", "full rank"])
def test_single_precision_keeps_six_digits(family):
    fields = draw(family)
    many, single = batched_fields(fields), batched_fields(fields).single()
    x, w = groups(fields)
    assert single.velocity(single.bind(w), x).dtype == np.float32
    assert many.velocity(many.bind(w), x).dtype == np.float64
    pairs = [(each.flow(w, x, 2), *each.linearised_flow(w, x, 2)) for each in (many, single)]
    for exact, rough in zip(*pairs, strict=True):
        assert rough.dtype == np.float64
        assert 0 < relative_error(rough, exact) < 3e-6


def test_families_without_a_faster_precision_keep_theirs():
    for family in ("universal", "functions"):
        many = batched_fields(draw(family))
        assert many.single() is many


def test_chunks_change_nothing(monkeypatch):
    fields = UniversalFields().draw(2, rng=0)
    many, (x, w) = batched_fields(fields), groups(fields)
    steps = np.array([2, 1, 3])
    whole = many.flow(w, x, steps), *many.linearised_flow(w, x, steps)
    small = replace(CACHE, chunk=1)
    monkeypatch.setattr("skcode.geometry.interpolation._batched_fields.CACHE", small)
    parts = many.flow(w, x, steps), *many.linearised_flow(w, x, steps)
    for one, other in zip(whole, parts, strict=True):
        assert_allclose(one, other, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("family", SMOOTH)
def test_groups_may_have_steps_of_their_own(family):
    fields = draw(family)
    many = batched_fields(fields)
    x, w = groups(fields)
    steps = np.array([2, 1, 2])
    flows = [many.flow, many.linearised_flow, many.tangent_flow]
    for flow in flows:
        whole = flow(w, x, steps)
        alone = [flow(w[g : g + 1], x[g : g + 1], int(steps[g])) for g in range(N_GROUPS)]
        if flow == many.linearised_flow:
            for part, parts in zip(whole, zip(*alone, strict=True), strict=True):
                assert_allclose(part, np.concatenate(parts), atol=1e-13)
        else:
            assert_allclose(whole, np.concatenate(alone), atol=1e-13)
