"""Axes: unified, cut and factored, with sizes kept and reasons told."""

import pytest

from sidle.lmc.axes import SINGLE, Axes


def test_unified_axes_are_one_and_stay_so():
    axes = Axes()
    a, b, c = axes.new(6), axes.new(6), axes.new(6)
    axes.unify(a, b, "")
    axes.unify(b, c, "")
    assert axes.normal(a) == axes.normal(c)
    assert not axes.is_fixed(a)


def test_fixing_reaches_all_that_was_unified_and_keeps_the_first_reason():
    axes = Axes()
    a, b = axes.new(6), axes.new(6)
    axes.unify(a, b, "")
    axes.fix(a, "first")
    axes.fix(b, "second")
    assert axes.reason(axes.normal(b)[0][0]) == "first"
    fixed, other = axes.new(4, "it is an input"), axes.new(4)
    axes.unify(other, fixed, "")
    assert axes.is_fixed(other)


def test_products_and_factors_are_inverse():
    axes = Axes()
    a, b = axes.new(2), axes.new(3)
    product = axes.product([a, b], "")
    assert axes.size(product) == 6
    assert axes.factors(product, (2, 3), "") == [a, b]
    whole = axes.new(12)
    parts = axes.factors(whole, (2, 3, 2), "")
    assert [axes.size(part) for part in parts] == [2, 3, 2]
    assert axes.product(parts, "") == axes.normal(whole)


@pytest.mark.parametrize("sizes", [((4, 6), (6, 4)), ((2, 3), (3, 2))])
def test_products_without_a_common_form_are_fixed(sizes):
    axes = Axes()
    one, other = (axes.product([axes.new(n) for n in pair], "") for pair in sizes)
    axes.unify(one, other, "no common form")
    assert axes.is_fixed(one)
    assert axes.is_fixed(other)


def test_a_cut_axis_is_cut_wherever_it_occurs():
    axes = Axes()
    a, b = axes.new(5), axes.new(5)
    axes.unify(a, b, "")
    left, right = axes.cut(a, 2)
    assert (axes.size(left), axes.size(right)) == (2, 3)
    assert axes.normal(b) == (*left, *right)
    assert axes.cut(axes.product([axes.new(2), axes.new(3)], ""), 2) is None


def test_sums_meet_sums():
    axes = Axes()
    joined, whole = (*axes.new(2), *axes.new(3)), axes.new(5)
    axes.unify(joined, whole, "")
    assert axes.normal(whole) == axes.normal(joined)
    assert not axes.is_fixed(whole)


def test_one_entry_is_no_class():
    assert Axes().new(1) == SINGLE
