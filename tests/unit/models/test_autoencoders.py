"""Mult-VAE and RecVAE: their losses are plain references', their schedules are the papers', and any history will do."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

torch = pytest.importorskip("torch")

from recsmith.errors import DataError  # noqa: E402
from recsmith.models.neural.multvae import MultVAE  # noqa: E402
from recsmith.models.neural.profiles import Profiles, multinomial  # noqa: E402
from recsmith.models.neural.recvae import RecVAE, log_normal  # noqa: E402

SMALL = {"hidden_size": 12, "latent_size": 5, "batch_size": 8, "epochs": 2}
MODELS = pytest.mark.parametrize("kind", [MultVAE, RecVAE])


def log():
    rng = np.random.default_rng(4)
    return build(np.repeat(np.arange(20), 5), rng.integers(0, 15, 100))


def begun(model, data):
    """The model with its objective, before the first step."""
    torch.manual_seed(0)
    model.sizes_ = model.sizes(data)
    model.module_ = model.build()
    return model.objective(data)


def softmax_loss(logits, counts):
    logs = logits - logits.max(1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(1, keepdims=True))
    return -(counts * logs).sum()


def test_the_multinomial_loss_is_the_plain_one():
    rng = np.random.default_rng(0)
    logits, counts = rng.normal(size=(4, 9)), rng.integers(0, 3, (4, 9)).astype(float)
    found = multinomial(torch.from_numpy(logits), torch.from_numpy(counts))
    assert float(found) == pytest.approx(softmax_loss(logits, counts))


def test_the_bound_of_mult_vae_is_the_plain_one():
    data = log()
    model = MultVAE(**SMALL, dropout=0, beta=0.4, anneal_epochs=0)
    objective = begun(model, data)
    objective.begin(0, np.random.default_rng(0))
    torch.manual_seed(3)
    loss, terms = objective.loss(np.array([1, 4, 6]))
    weights = {name: t.detach().numpy().astype(np.float64) for name, t in model.module_.named_parameters()}
    x = data.matrix("weight").toarray()[[1, 4, 6]]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    hidden = np.tanh(unit @ weights["read.weight"] + weights["read.bias"])
    code = hidden @ weights["code.weight"].T + weights["code.bias"]
    mean, log_variance = code[:, :5], code[:, 5:]
    torch.manual_seed(3)
    z = mean + torch.randn(3, 5).numpy() * np.exp(log_variance / 2)
    wide = np.tanh(z @ weights["widen.weight"].T + weights["widen.bias"])
    logits = wide @ weights["out.weight"].T + weights["out.bias"]
    divergence = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum()
    assert terms == 3
    assert loss.item() == pytest.approx(softmax_loss(logits, x) + 0.4 * divergence, rel=1e-5)


def test_the_divergence_weighs_more_epoch_by_epoch():
    objective = begun(MultVAE(**SMALL, beta=0.6, anneal_epochs=3), log())
    found = []
    for epoch in range(5):
        objective.begin(epoch, np.random.default_rng(0))
        found.append(objective.beta)
    np.testing.assert_allclose(found, [0, 0.2, 0.4, 0.6, 0.6])


def test_encoder_and_decoder_of_recvae_learn_in_turn():
    model = RecVAE(**SMALL, encoder_passes=2)
    objective = begun(model, log())
    rng = np.random.default_rng(0)
    objective.begin(0, rng)
    batches = objective.order(8, rng)
    assert sum(map(len, batches)) == objective.n_examples == 60
    taught = []
    for rows in batches:
        model.module_.zero_grad()
        objective.loss(rows)[0].backward()
        taught.append(
            {name.split(".")[0] for name, p in model.module_.named_parameters() if p.grad is not None}
        )
    assert taught == [{"encoder"}] * 6 + [{"out"}] * 3


def test_the_prior_of_recvae_is_the_mixture():
    data = log()
    model = RecVAE(**SMALL, dropout=0)
    objective = begun(model, data)
    objective.begin(0, np.random.default_rng(0))
    profiles, code = objective.profiles(np.array([2, 3])), torch.randn(2, 5)
    mean, log_variance = (t.detach().numpy() for t in model.module_.encoder(profiles))

    def density(m, variance):
        return np.exp(-((code.numpy() - m) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    mixed = 0.15 * density(0, 1) + 0.75 * density(mean, np.exp(log_variance)) + 0.1 * density(0, np.exp(10))
    np.testing.assert_allclose(objective._log_prior(profiles, code).numpy(), np.log(mixed).sum(1), rtol=1e-4)


def test_the_normal_density_has_its_known_value():
    found = log_normal(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(0.0))
    assert float(found) == pytest.approx(np.log(0.24197072451914337))


def test_rows_of_profiles_have_length_one():
    data = log()
    table = data.matrix("weight")
    profiles = Profiles.of(table.indptr, table.indices, table.data, torch.device("cpu"))
    x = table.toarray()
    np.testing.assert_array_equal(profiles.dense(data.n_items).numpy(), x)
    squares = np.bincount(profiles.rows.numpy(), profiles.unit.numpy() ** 2)
    np.testing.assert_allclose(squares, 1, rtol=1e-6)


@MODELS
def test_order_does_not_matter_and_an_item_twice_is_an_item_of_twice_the_weight(kind):
    data = log()
    model = kind(**SMALL).fit(data)
    query = data.queries(np.array([3]))
    turned = query.replace(items=query.items[::-1].copy())
    np.testing.assert_allclose(model.score(query), model.score(turned), atol=1e-6)
    once = query.take(slice(0, 1)).replace(
        offsets=np.array([0, 2]),
        items=np.array([1, 4], dtype=np.int32),
        weights=np.array([2, 1], dtype=np.float32),
    )
    twice = once.replace(offsets=np.array([0, 3]), items=np.array([1, 4, 1], dtype=np.int32), weights=None)
    np.testing.assert_allclose(model.score(once), model.score(twice), atol=1e-6)


@MODELS
def test_a_log_in_which_nothing_counts_is_refused(kind):
    data = build(["u", "v"], ["a", "b"], weight=np.zeros(2, dtype=np.float32))
    with pytest.raises(DataError, match="no event that counts"):
        kind().fit(data)


def test_the_old_encoder_is_not_kept():
    model = RecVAE(**SMALL).fit(log())
    assert not [name for name in model.state().arrays if "before" in name]
