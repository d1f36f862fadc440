"""Refuses combinations of the grid that no training job can run, from the configuration alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from polycal.study.config_catalogues import Data, Model, Recipe

if TYPE_CHECKING:
    from polycal.study.config import Block


def check_training(
    block: "Block",
    at: str,
    models: Mapping[str, Model],
    data: Mapping[str, Data],
    recipes: Mapping[str, Recipe],
) -> None:
    """Raise ValueError if a recipe of ``block``, the value of key ``at``, cannot train one of its models.

    By size, a global batch consists of equally many micro-batches on each process of a model. Learning rates are compared on
    held-out conversations, so a recipe with several of them needs data that holds some out.
    """
    if not block.data:
        return
    for recipe in block.recipes:
        for model in block.models:
            _check_batch(at, recipe, recipes[recipe], model, models[model])
        for name in block.data:
            rates = recipes[recipe].learning_rates
            if len(rates) > 1 and data[name].heldout == "0":
                raise ValueError(
                    f"{at}: recipe {recipe!r} has {len(rates)} learning rates to be compared on held-out"
                    f" conversations, but data.{name}.heldout is 0; set it above 0 or give one learning rate"
                )


def _check_batch(at: str, recipe: str, settings: Recipe, model: str, machine: Model) -> None:
    if settings.micro_batch_size is None:
        return
    divisor = settings.micro_batch_size * machine.training_world
    if settings.global_batch_size % divisor:
        raise ValueError(
            f"{at}: recipes.{recipe}.global_batch_size {settings.global_batch_size} is not a multiple of"
            f" {divisor}, its micro_batch_size {settings.micro_batch_size} times the"
            f" {machine.training_world} processes that train model {model!r}"
        )
