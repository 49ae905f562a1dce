"""BERT4Rec: what its mask hides, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.errors import ParameterError
from recsmith.models.sequential.bert4rec import BERT4Rec


def test_it_looks_both_ways_and_not_behind_the_end(cycle):
    model = BERT4Rec(embedding_size=8, epochs=1).fit(cycle)
    length = torch.tensor([4])
    with torch.no_grad():
        one = model.module_(torch.tensor([[3, 4, 5, 6, 0]]), length)[0, :4]
        later = model.module_(torch.tensor([[3, 4, 5, 9, 0]]), length)[0, :4]
        behind = model.module_(torch.tensor([[3, 4, 5, 6, 11]]), length)[0, :4]
    assert not torch.allclose(one[0], later[0])
    torch.testing.assert_close(one, behind)


def test_the_loss_is_the_cross_entropy_of_the_masked_events(cycle):
    """No event of a gap is seen: the loss is that of a plain reference that reads the mask there."""
    model = BERT4Rec(embedding_size=8, epochs=1, dropout=0.0, mask_share=0.4).fit(cycle)
    objective = model.objective(cycle)
    rows = np.arange(20)
    objective.begin(0, np.random.default_rng(9))
    with torch.no_grad():
        total, terms = objective.loss(rows)
    objective.begin(0, np.random.default_rng(9))
    items, lengths = objective.rows(rows)
    gaps = objective._gaps(objective.lengths[rows], items.shape[1])
    assert gaps.any(1).all()
    assert not gaps[items < 0].any()
    wanted = 0.0
    for r in range(20):
        n = int(lengths[r])
        seen = torch.where(gaps[r, :n], 12, items[r, :n])
        with torch.no_grad():
            logits = model.module_(seen[None], lengths[r : r + 1])[0] @ model.item_table().T
        for t in np.flatnonzero(gaps[r, :n].numpy()):
            wanted -= float(torch.log_softmax(logits[t], 0)[items[r, t]])
    assert terms == int(gaps.sum())
    assert total.item() == pytest.approx(wanted, rel=1e-4)


def test_bad_parameters():
    with pytest.raises(
        ParameterError, match="'heads' parameter of BERT4Rec must be a divisor of embedding_size"
    ):
        BERT4Rec(heads=3)
    with pytest.raises(ParameterError, match="'max_length' parameter of BERT4Rec must be >= 2"):
        BERT4Rec(max_length=1)
