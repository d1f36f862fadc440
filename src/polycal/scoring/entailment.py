"""Whether a text entails another one, by a model for natural language inference (NLI)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from polycal.data import model_loading
from polycal.data.model_loading import ModelError
from polycal.scoring import batching, models

ENTAILMENT = "entailment"
"""The label that a model must have, in any case of its letters."""
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}
"""Padded tokens per batch, by device."""
Pair = tuple[str, str]


@dataclass
class EntailmentModel:
    """A model that classifies pairs of texts. ``label`` is the number of the label entailment.

    ``longest`` is the largest number of tokens of a pair. ``pairs`` counts the pairs that were compared, and ``cut``
    those of them that were longer.
    """

    folder: Path
    model: Any
    tokenizer: Any
    label: int
    longest: int
    pairs: int = 0
    cut: int = 0

    @torch.inference_mode()
    def entails(self, pairs: Sequence[Pair]) -> list[bool]:
        """Whether the first text of each pair entails the second: whether that is the most likely label.

        A pair that is too long loses tokens at the beginning of its longer text, so that the ends stay. The result
        depends on the other pairs by rounding only. Raises TokenIdError if a token has no embedding, and ModelError if
        a logit is not finite.
        """
        rows = self._encoded(pairs)
        found = [False] * len(rows)
        device = self.model.device
        lengths = [len(row["input_ids"]) for row in rows]
        for batch in batching.batches(lengths, TOKENS_PER_BATCH[device.type]):
            padded = self.tokenizer.pad([rows[number] for number in batch], return_tensors="pt")
            logits = self.model(**padded.to(device)).logits
            if not logits.isfinite().all():
                dtype = str(self.model.dtype).removeprefix("torch.")
                raise ModelError(
                    f"{self.folder}: a logit is not finite in {dtype}; the model needs a wider dtype."
                )
            for number, label in zip(batch, logits.argmax(-1).tolist(), strict=True):
                found[number] = label == self.label
        return found

    def _encoded(self, pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
        rows = [dict(self.tokenizer(*pair, verbose=False)) for pair in pairs]
        for number, pair in enumerate(pairs):
            if len(rows[number]["input_ids"]) > self.longest:
                rows[number] = dict(
                    self.tokenizer(*pair, truncation="longest_first", max_length=self.longest)
                )
                self.cut += 1
        self.pairs += len(pairs)
        largest = max((max(row["input_ids"]) for row in rows), default=0)
        model_loading.check_token_id(self.model, self.tokenizer, largest, str(self.folder))
        return rows


def load(folder: Path, dtype: str, attention: str) -> EntailmentModel:
    """The entailment model in a local folder, on a GPU if there is one. No code in the folder is run.

    Raises CheckpointError if files are missing or incomplete, and ModelError if the model has no label entailment,
    if weights of the classifier are missing, of another shape or not finite, or if transformers cannot load it.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    tokenizer = model_loading.load_tokenizer(folder)
    if tokenizer.pad_token_id is None:
        raise ModelError(f"{folder}: the tokenizer has no padding token, which batches of pairs need.")
    # The answer is at the end of a text, so a text that is too long loses its beginning.
    tokenizer.truncation_side = "left"
    with model_loading.transformers_errors(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        label = entailment_label(folder, config.id2label)
        model, report = model_loading.from_pretrained(
            AutoModelForSequenceClassification, folder, config, dtype=dtype, attention=attention
        )
    _check_weights(folder, [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    model_loading.check_finite(folder, model)
    longest = min(tokenizer.model_max_length, models.context_window(model))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return EntailmentModel(folder, model.eval().to(device), tokenizer, label, longest)


def entailment_label(folder: Path, labels: dict[int, str]) -> int:
    """The number of the label entailment. Raises ModelError if the model in ``folder`` does not have exactly one."""
    found = [number for number, name in labels.items() if name.lower() == ENTAILMENT]
    if len(found) != 1:
        raise ModelError(
            f"{folder}: needs exactly one label named {ENTAILMENT}, but id2label of config.json has"
            f" {', '.join(labels.values())}; name a model for natural language inference."
        )
    return found[0]


def _check_weights(folder: Path, missing: Iterable[str]) -> None:
    """Raise ModelError if weights of the classifier are missing."""
    if names := sorted(missing):
        listed = ", ".join(names[: model_loading.MAX_NAMES])
        raise ModelError(
            f"{folder}: {len(names)} weights of a classifier are missing or of another shape ({listed}); name a model"
            " that was trained for natural language inference."
        )
