"""No context looks at what comes later."""

import pytest
import torch

from sidle.cpc import contexts

ALONG_TIME = {
    "gru": lambda: contexts.GRUContext(5, 8, layers=2),
    "transformer": lambda: contexts.CausalTransformerContext(5, 8),
}
ON_GRIDS = {
    "masked": lambda: contexts.MaskedConvolutionContext(5, 8, layers=3),
    "row gru": lambda: contexts.RowGRUContext(5, 8),
}


@pytest.mark.parametrize("name", ALONG_TIME)
def test_contexts_of_a_step_depend_on_steps_up_to_it_and_on_no_later_one(name):
    torch.manual_seed(0)
    context = ALONG_TIME[name]().double().eval()
    z = torch.randn(2, 7, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(8, dtype=torch.float64)  # a sum says nothing of a normalised context
    for t in range(7):
        (gradient,) = torch.autograd.grad(context(z)[0, t] @ weights, z)
        reached = gradient.abs().sum(-1) > 0
        assert not reached[1].any()
        assert not reached[0, t + 1 :].any()
        assert reached[0, : t + 1].all()


@pytest.mark.parametrize("name", ON_GRIDS)
def test_contexts_of_a_row_depend_on_no_row_below_it(name):
    torch.manual_seed(0)
    context = ON_GRIDS[name]().double().eval()
    z = torch.randn(2, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    for row in range(6):
        (gradient,) = torch.autograd.grad(context(z)[0, row, 2].sum(), z)
        reached = gradient.abs().sum((-1, -2)) > 0
        assert not reached[1].any()
        assert not reached[0, row + 1 :].any()
        assert reached[0, row]
        assert reached[0, max(row - 1, 0)]
