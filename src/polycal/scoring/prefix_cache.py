"""A cache of the keys and values of a prefix that many sequences share."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache


class PrefixCache(DynamicCache):
    """The keys and values of a prefix, computed once.

    Later forward passes read them and do not change them.
    """

    def __init__(self, model: Any, tokens: np.ndarray) -> None:
        """Compute the keys and values of ``tokens``, int64 [length]."""
        super().__init__()
        self.length = len(tokens)
        self.complete = False
        with torch.inference_mode():
            model.model(input_ids=torch.tensor(tokens, device=model.device)[None], past_key_values=self)
        self.complete = True

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The keys and values of the prefix followed by the given ones, each [batch, heads, length, head width]."""
        if not self.complete:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        layer: Any = self.layers[layer_idx]
        batch = key_states.shape[0]
        return (
            torch.cat([layer.keys.expand(batch, -1, -1, -1), key_states], dim=-2),
            torch.cat([layer.values.expand(batch, -1, -1, -1), value_states], dim=-2),
        )
