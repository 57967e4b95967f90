"""The ramp of IPR, Eq. 7."""

import math

import pytest

from hf_ambiser.training.schedules import exponential_ramp


@pytest.mark.parametrize("base", [0.5, 2, 10, 1000])
@pytest.mark.parametrize("epochs,maximum", [(50, 0.5), (7, 1.0), (1, 0.2)])
def test_it_is_equation_7(base, epochs, maximum):
    for epoch in range(epochs + 1):
        grown = maximum * (math.pow(base, epoch / (epochs / 2)) - 1) / (base - 1)
        assert exponential_ramp(epoch, epochs, maximum, base) == pytest.approx(min(grown, maximum))


@pytest.mark.parametrize("base", [0.1, 1, 1 + 1e-9, 10, 1e6])
def test_it_starts_at_zero_reaches_its_cap_at_half_and_never_falls(base):
    values = [exponential_ramp(e / 10, 50, 0.5, base) for e in range(501)]
    assert values[0] == 0
    assert values[250] == pytest.approx(0.5, rel=1e-6) and all(v == pytest.approx(0.5, rel=1e-6) for v in values[250:])
    assert values[249] < 0.5 and max(values) <= 0.5
    assert all(b >= a for a, b in zip(values, values[1:], strict=False))


def test_it_accelerates_above_base_one_and_is_a_line_at_one():
    values = [exponential_ramp(e, 50, 0.5, 10) for e in range(26)]
    steps = [b - a for a, b in zip(values, values[1:], strict=False)]
    assert all(b > a for a, b in zip(steps, steps[1:], strict=False))  # "accelerates with each epoch", section 3.2
    assert exponential_ramp(10, 50, 0.5, 1) == pytest.approx(0.5 * 10 / 25)
    assert exponential_ramp(10, 50, 0.5, 1) == pytest.approx(exponential_ramp(10, 50, 0.5, 1 + 1e-6), rel=1e-4)


@pytest.mark.parametrize("epochs,base", [(0, 10), (-1, 10), (50, 0), (50, -2)])
def test_impossible_arguments_are_named(epochs, base):
    with pytest.raises(ValueError, match=f"n_epochs > 0 and base > 0, got {epochs} and {base}"):
        exponential_ramp(1, epochs, 0.5, base)
