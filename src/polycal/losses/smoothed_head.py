"""An output head for causal language models of transformers that computes the smoothed loss instead of logits."""

from dataclasses import dataclass
from types import MethodType
from typing import Any

from torch import Tensor, nn
from transformers.utils import ModelOutput

from polycal.losses.label_smoothing import token_statistics

LOGIT_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
"""Configuration keys of models that scale their logits, which the loss does not support."""


@dataclass
class SmoothedOutput(ModelOutput):
    """The fields of ``label_smoothing.TokenStatistics``, as the output of a model of transformers."""

    loss: Tensor | None = None
    nll: Tensor | None = None
    entropy: Tensor | None = None
    correct: Tensor | None = None


class SmoothedHead(nn.Linear):
    """An output head that can also compute the loss.

    The loss is computed in this module's forward, so that the hooks of ZeRO-3 gather its weight once per
    forward pass.
    """

    def forward(
        self,
        hidden: Tensor,
        labels: Tensor | None = None,
        beta: float = 0.0,
        softcap: float | None = None,
        num_items: Tensor | float = 1,
    ) -> Any:
        """Without ``labels`` the logits [..., V]; with ``labels`` [N] and ``hidden`` [N, D] a SmoothedOutput."""
        if labels is None:
            return super().forward(hidden)
        return SmoothedOutput(
            *token_statistics(
                hidden, self.weight, labels, beta, bias=self.bias, softcap=softcap, num_items=num_items
            )
        )


def install(model: Any, beta: float) -> None:
    """Change a causal language model of transformers so that its head computes the smoothed loss of labels.

    Afterwards ``model(input_ids, attention_mask, labels=…)`` returns the SmoothedOutput of the target tokens
    and does not compute the logits of all of them at once. ``labels`` has the shape of ``input_ids``. The
    model shifts it by one position, and −100 marks tokens that are not targets. The loss is the sum over the
    targets, divided by ``num_items_in_batch`` if that is given. Without labels the model works as before.
    Raises ValueError if the model scales its logits, or if its head is not a linear layer.
    """
    config = model.config.get_text_config()
    scales = [name for name in LOGIT_SCALES if getattr(config, name, None) not in (None, 1, 1.0)]
    head = model.get_output_embeddings()
    if scales or not isinstance(head, nn.Linear):
        problem = f"sets {scales[0]}" if scales else f"has a head of type {type(head).__name__}"
        raise ValueError(f"{config.model_type} {problem}, but the loss needs logits W h, soft-capped or not")
    head.__class__ = SmoothedHead
    softcap = getattr(config, "final_logit_softcapping", None)
    unlabelled_forward = model.forward

    def forward(
        self: Any,
        *args: Any,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | float = 1,
        **kwargs: Any,
    ) -> Any:
        if labels is None:
            return unlabelled_forward(*args, **kwargs)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        is_target = targets != -100
        return self.get_output_embeddings()(
            hidden[is_target],
            labels=targets[is_target],
            beta=beta,
            softcap=softcap,
            num_items=num_items_in_batch,
        )

    model.forward = MethodType(forward, model)
