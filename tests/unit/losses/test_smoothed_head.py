import pytest
import torch
from helpers.smoothed_loss import SMALL_MODEL, relative_error
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from polycal.losses import smoothed_head


@pytest.mark.parametrize(
    "make",
    [
        lambda: LlamaForCausalLM(LlamaConfig(**SMALL_MODEL)),
        lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL_MODEL, head_dim=8, tie_word_embeddings=True)),
    ],
    ids=["untied", "tied with soft-cap"],
)
def test_installed_in_a_model_it_gives_the_gradients_of_full_logits(make):
    torch.manual_seed(0)
    model = make()
    ids = torch.randint(3, 61, (2, 9))
    labels = ids.clone()
    labels[:, :4] = -100
    z = model(input_ids=ids).logits[:, :-1].flatten(0, 1).double()
    reference = torch.nn.functional.cross_entropy(
        z, labels[:, 1:].flatten(), label_smoothing=0.1, reduction="sum"
    )
    exact = torch.autograd.grad(reference, list(model.parameters()))
    smoothed_head.install(model, 0.1)
    output = model(input_ids=ids, labels=labels)
    assert relative_error(output.loss, reference) <= 1e-5
    for grad, expected in zip(torch.autograd.grad(output.loss, list(model.parameters())), exact, strict=True):
        assert torch.allclose(grad, expected, rtol=1e-3, atol=1e-5)


def test_a_model_that_scales_its_logits_is_refused():
    config = CohereConfig(**{**SMALL_MODEL, "num_key_value_heads": 2}, logit_scale=0.0625)
    with pytest.raises(ValueError, match="logit_scale"):
        smoothed_head.install(CohereForCausalLM(config), 0.1)
