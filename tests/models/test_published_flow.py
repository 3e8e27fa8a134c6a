"""The published flow is the library's, of the published size, behind the interface of the project's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nflows.transforms import MaskedAffineAutoregressiveTransform

from common.errors import InputError
from models.density import TrainedDensity, load_density
from models.published_flow import PublishedFlow, published_maf
from models.registry import DENSITIES


def events(n: int, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    m = rng.uniform(3, 4, (n, 1))
    return m + rng.normal(size=(n, d)), m


def test_number_of_parameters():
    """arXiv:2109.00546: 15 blocks of 128 hidden units, four features, one condition; as the YAML file has it, too."""
    flow = PublishedFlow(**DENSITIES.hyperparameters("published"))
    assert sum(p.numel() for p in flow._build([torch.Generator()]).parameters()) == 274_800
    assert (flow.lr, flow.weight_decay, flow.batch_size, flow.epochs) == (1e-4, 1e-6, 256, 100)


def test_log_prob_and_samples_are_the_library_s_own():
    """To 1e-6 per event, with the same weights in a flow of nflows that nothing was done to."""
    X, m = events(2000)
    flow = PublishedFlow(num_blocks=4, num_hidden=32, epochs=2, lr=1e-3, random_state=1).fit(X, m)
    library = published_maf(4, 1, 4, 32, torch.Generator()).eval()
    kept = {name.removeprefix("flow."): value for name, value in flow.module_.state_dict().items() if name.startswith("flow.")}
    own = {
        name.replace("parametrizations.", "").removesuffix(".original"): v[0] if "original" in name else v
        for name, v in kept.items()
    }
    library.load_state_dict(own)
    x, condition = (torch.as_tensor(a, dtype=torch.float32) for a in (X, m))
    with torch.no_grad():
        expected = library.log_prob(x, condition).numpy()
        np.testing.assert_allclose(flow.predict_log_proba(X, m), expected, atol=1e-6, rtol=1e-6)
        noise = library.transform_to_noise(x, condition)
        np.testing.assert_allclose(flow.transform(X, m), noise.numpy(), atol=1e-6, rtol=1e-6)
        np.testing.assert_allclose(
            flow.inverse_transform(noise.numpy(), m),
            library._transform.inverse(noise, condition)[0].numpy(),
            atol=1e-6,
            rtol=1e-6,
        )


def test_blocks_are_those_of_the_library_but_for_scale_and_condition():
    """Given the same weights, the MADE of a block gives what the library's gives; only the scale is made of it differently."""
    torch.manual_seed(0)
    library = MaskedAffineAutoregressiveTransform(3, 16, context_features=1, num_blocks=1, use_residual_blocks=False)
    made = library.autoregressive_net
    made.context_layer.bias.data.zero_()
    made.context_layer.weight.data.abs_()  # so that the library's ReLU does nothing where m is positive
    block = published_maf(3, 1, 1, 16, torch.Generator())._transform._transforms[0]
    block.autoregressive_net.load_state_dict({k: v for k, v in made.state_dict().items() if k != "context_layer.bias"})
    x, m = torch.randn(50, 3), torch.rand(50, 1)
    parameters = made(x, m)
    torch.testing.assert_close(block.autoregressive_net(x, m), parameters)
    shift, log_scale = parameters[:, 0::2], parameters[:, 1::2]
    z, log_det = block(x, m)
    torch.testing.assert_close(z, (x - shift) / log_scale.exp())
    torch.testing.assert_close(log_det, -log_scale.sum(dim=1))


def test_it_is_a_density_estimator_like_any_other(tmp_path):
    """Trained behind the scalers, saved, loaded without a word of what it is, mixed of its best epochs."""
    X, m = events(1500)
    flow = PublishedFlow(num_blocks=2, num_hidden=8, epochs=3, lr=1e-3, random_state=1, save_path=tmp_path / "epochs")
    trained = TrainedDensity.fit(flow, (X, m), (X, m), use_logit=True, names=list("abcd"))
    trained.save(tmp_path, "flow")
    density = load_density(tmp_path, "flow", n_best=2)
    np.testing.assert_array_equal(density.predict_log_proba(X, m), trained.density(2).predict_log_proba(X, m))
    samples = density.sample(m, np.random.default_rng(0))
    assert np.isfinite(samples).all()
    assert type(load_density(tmp_path, "flow", n_best=1).estimator) is PublishedFlow


def test_the_condition_is_m_as_it_is():
    flow = PublishedFlow(num_blocks=1, num_hidden=8, epochs=1, random_state=1).fit(*events(300))
    m = torch.tensor([[[3.5]]])
    assert torch.equal(flow.module_.seen(m), m)


def test_a_file_for_another_estimator_is_refused(tmp_path):
    path = tmp_path / "other.yml"
    path.write_text("model: published\nnum_blocks: 3\n")
    assert DENSITIES.hyperparameters("published", path)["num_blocks"] == 3
    with pytest.raises(InputError, match=r"other\.yml: hyperparameters of the density estimator published, but flow was chosen"):
        DENSITIES.hyperparameters("flow", path)


def test_a_last_batch_of_a_single_event_is_left_out():
    """Its batch normalization would divide by a variance that is not there."""
    rng = np.random.default_rng(1)
    m = rng.uniform(size=(513, 1))
    X = m + rng.normal(size=(513, 2))
    settings = {"num_inputs": 2, "num_blocks": 2, "num_hidden": 8, "epochs": 2, "batch_size": 256, "random_state": 1}
    flow = PublishedFlow(**settings).fit(X, m, X[:100], m[:100])
    assert np.isfinite(flow.val_losses_).all()
