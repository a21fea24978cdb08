"""Schemes are data that check themselves."""

import pytest

from skcode.flow import TABLEAUS, Tableau, get_tableau

RK4 = TABLEAUS["rk4"]


@pytest.mark.parametrize("name", TABLEAUS)
def test_the_stated_order_is_the_order(name):
    tableau = TABLEAUS[name]
    assert get_tableau(name) is get_tableau(tableau) is tableau
    if tableau.order < 4:
        with pytest.raises(ValueError, match=f"an order-{tableau.order + 1} condition fails"):
            Tableau(name, tableau.order + 1, tableau.a, tableau.b)


@pytest.mark.parametrize(
    ("order", "a", "b"),
    [
        (1, ((),), (0.9,)),
        (2, ((), (0.5,)), (0.5, 0.5)),
        (2, ((), (1.0,)), (0.4, 0.6)),
        # Kutta's third order scheme, with one entry off
        (3, ((), (0.5,), (-1.0, 1.9)), (1 / 6, 2 / 3, 1 / 6)),
        (4, ((), (0.5,), (0.5, 0.0), (0.0, 0.0, 1.0)), RK4.b),
        (4, RK4.a, (1 / 6, 1 / 3 + 1e-6, 1 / 3 - 1e-6, 1 / 6)),
        (4, ((), (1 / 2,), (1 / 4, 1 / 4), (0.0, 0.0, 1.0)), RK4.b),
    ],
)
def test_a_wrong_scheme_fails_its_order_conditions(order, a, b):
    with pytest.raises(ValueError, match="wrong: an order-. condition fails by"):
        Tableau("wrong", order, a, b)


@pytest.mark.parametrize("a", [((), ()), ((), (0.5,), (0.5,)), ((1.0,), (0.5,)), ((),)])
def test_an_explicit_scheme_is_strictly_lower_triangular(a):
    with pytest.raises(ValueError, match="row i of `a` must have i entries"):
        Tableau("wrong", 1, a, (0.0, 1.0))


def test_kuttas_third_order_scheme_is_accepted():
    assert Tableau("kutta", 3, ((), (0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6)).n_stages == 3


@pytest.mark.parametrize("order", [0, 5, 7])
def test_orders_that_no_condition_checks_are_refused(order):
    with pytest.raises(ValueError, match="order"):
        Tableau("rk4", order, RK4.a, RK4.b)


def test_an_unknown_scheme_is_named():
    with pytest.raises(ValueError, match="integrator='rk5' must be one of"):
        get_tableau("rk5")
