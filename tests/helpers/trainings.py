"""Trainings of one cell in this process. The functions are here so that a separate process can import them too."""

import csv
import json

from helpers import training
from helpers.stamps import FixedStamp
from polycal.losses import logit_tiles, smoothed_head
from polycal.training import finetune

SETTINGS = {**training.SETTINGS, "micro_batch_size": 2}


def train(folder, name, beta="0", architecture="llama", zero_stage=2, **settings):
    merged = {**SETTINGS, **settings}
    cell = {
        "stage": "finetune",
        "model": architecture,
        "beta": beta,
        "seed": "0",
        "lr": "1e-2",
        "settings": merged,
    }
    out = folder / name / "manifest.json"
    out.parent.mkdir()
    finetune.finetune(
        cell,
        model=folder / architecture,
        instructions=folder / "rows.parquet",
        out=out,
        stamp=FixedStamp(fingerprint=f"{name:_>12}"),
        zero_stage=zero_stage,
    )
    said = json.loads(out.read_text())
    with (out.parent / said["folder"]).parent.joinpath("loss.csv").open() as file:
        return said, out, list(csv.DictReader(file))


def gathered(folder):
    """Train with ZeRO-3, and count how often the weight of the output head is gathered.

    Returns the number of steps, of target tokens and of gathers. To be called in a separate process, because it
    replaces functions of DeepSpeed and polycal.
    """
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
    from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator as Kind

    name, heads, times = "_PartitionedParameterCoordinator__all_gather_params", set(), []
    real, forward = getattr(Kind, name), smoothed_head.SmoothedHead.forward

    def counted(self, params, *words, **named):
        times.extend(p.ds_id for p in params if p.ds_status == ZeroParamStatus.NOT_AVAILABLE)
        return real(self, params, *words, **named)

    def noted(self, *words, **named):
        # the check of the loss before training also calls this, before ZeRO partitions the parameters
        if hasattr(self.weight, "ds_id"):
            heads.add(self.weight.ds_id)
        return forward(self, *words, **named)

    setattr(Kind, name, counted)
    smoothed_head.SmoothedHead.forward = noted
    # blocks of one token and tiles of 16 columns: one gather per tile would be some hundred gathers
    logit_tiles.MAX_BLOCK_LOGITS = logit_tiles.MIN_BLOCK_TOKENS = 1
    logit_tiles.TILE_LOGITS = logit_tiles.MIN_TILE_COLUMNS = 16
    said, _, curve = train(folder, "gathered", "0.1", "wide", micro_batch_size=1, zero_stage=3)
    (head,) = heads
    return said["steps"], sum(float(line["targets"]) for line in curve), times.count(head)
