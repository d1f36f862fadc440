"""Loading under ZeRO stage 3: no rank has all weights in its own memory in float32.

A rank reads the weights in the type of the files, so that the files are only mapped. Each weight is converted and
partitioned over the ranks by itself. The checks before training need whole weights in float32: each layer is converted
when its pass begins, and the converted weights are dropped when it ends. All conversions to float32 are exact, so the
bits are those of a model that is loaded in float32.

transformers can partition a model while it loads it (``HfDeepSpeedConfig``). That is not used here: the checks would see
partitioned weights in the precision of the training, and tensors that do not fit would stop only rank 0.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import deepspeed
import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import Tensor, nn

from polycal.artifacts import checkpoints, weight_files
from polycal.data import model_loading
from polycal.errors import CellError

NARROW = {"BF16": "bfloat16", "F16": "float16"}
"""Types of saved weights that float32 contains exactly, as safetensors and PyTorch call them."""
Result = TypeVar("Result")


def load(folder: Path, tokenizer: Any, *, attention: str, dropout: float) -> Any:
    """The model that ``model_loading.load_model`` loads in float32, but with its matrices in the type of the files.

    Vectors and buffers are in float32. The matrices are too if the files contain several floating types, and if the
    model has no vector, because the check of the loss then compares the gradient of a matrix. Raises the errors of
    ``load_model``.
    """
    options: dict[str, Any] = {"attention": attention, "dropout": dropout}
    saved = _saved_types(folder)
    if len(saved) == 1 and (narrow := NARROW.get(*saved)):
        model = model_loading.load_model(folder, tokenizer, dtype=narrow, **options)
        vectors = [parameter for parameter in model.parameters() if parameter.ndim == 1]
        for vector in vectors:
            vector.data = vector.data.float()
        if vectors:
            _widen_buffers(model)
            return model
    return model_loading.load_model(folder, tokenizer, dtype="float32", **options)


def _saved_types(folder: Path) -> set[str]:
    """The floating types of the tensors in the files of a model."""
    found = set()
    for path in checkpoints.parts(folder):
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                found |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return found & set(weight_files.FULL_TYPES)


def _widen_buffers(model: Any) -> None:
    """Give a model the buffers and the configuration that it has if it is loaded in float32.

    A buffer that the files do not contain was computed in the type of the weights, so it is computed again.
    """
    model.config.dtype = torch.float32
    with init_empty_weights(include_buffers=False):
        template = type(model)(copy.deepcopy(model.config))
    computed = dict(template.named_non_persistent_buffers())
    for name, module in model.named_modules():
        for key, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                module._buffers[key] = computed.get(f"{name}.{key}".lstrip("."), buffer.float())


def in_float32(model: Any, check: Callable[[], Result]) -> Result:
    """The result of ``check()``, which runs forward and backward passes of ``model`` as if it were in float32.

    The gradients of vectors can be taken, those of narrow matrices cannot. If the check fails, all weights are
    converted and it is repeated, because a layer that reads the weights of another layer gets them as they were saved.
    """
    if not any(map(_is_narrow, model.parameters())):
        return check()
    try:
        with _converted_in_passes(model):
            return check()
    except CellError:
        for parameter in model.parameters():
            parameter.data = parameter.data.float()
        return check()


@contextmanager
def _converted_in_passes(model: nn.Module) -> Iterator[None]:
    """Inside the context, the narrow weights of a unit are in float32 while its forward pass runs.

    A converted weight that the backward pass needs is dropped after the forward pass, and converted again for it.
    """
    narrow_of: dict[int, Tensor] = {}

    def widen(unit: nn.Module, parameters: list[nn.Parameter]) -> None:
        for parameter in filter(_is_narrow, parameters):
            narrow = parameter.data
            parameter.data = narrow.float()
            narrow_of[parameter.data.untyped_storage().data_ptr()] = narrow

    def restore(unit: nn.Module, parameters: list[nn.Parameter]) -> None:
        for parameter in parameters:
            narrow = narrow_of.pop(parameter.data.untyped_storage().data_ptr(), None)
            if narrow is not None:
                parameter.data = narrow

    def pack(saved: Tensor) -> Any:
        narrow = narrow_of.get(saved.untyped_storage().data_ptr())
        if narrow is None:
            # detached, because an output that keeps the graph which keeps it would never be freed
            return saved.detach()
        return narrow, saved.shape, saved.stride(), saved.storage_offset()

    def unpack(packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        narrow, *view = packed
        return narrow.float().as_strided(*view)

    with ExitStack() as hooks:
        for unit, parameters in _units(model):
            before = unit.register_forward_pre_hook(lambda unit, _, own=parameters: widen(unit, own))
            after = unit.register_forward_hook(
                lambda unit, *_, own=parameters: restore(unit, own), always_call=True
            )
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        hooks.enter_context(torch.autograd.graph.saved_tensors_hooks(pack, unpack))
        yield


def _is_narrow(parameter: Tensor) -> bool:
    return parameter.dtype in (torch.bfloat16, torch.float16)


def _units(module: nn.Module) -> Iterator[tuple[nn.Module, list[nn.Parameter]]]:
    """The layers of a model with all their parameters, and the other modules with their own parameters."""
    if own := list(module.parameters(recurse=False)):
        yield module, own
    for child in module.children():
        if isinstance(module, nn.ModuleList):
            yield child, list(child.parameters())
        else:
            yield from _units(child)


def partition(model: nn.Module, config: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> None:
    """Partition the parameters over all ranks in ``dtype``, one after another, and move the buffers to ``device``.

    ``config`` is DeepSpeed's configuration. The process group must exist. DeepSpeed would move the whole model to the
    device first.
    """
    first, *others = model.parameters()
    # Copies, because a rank that receives a weight into a mapped file would keep the pages until the file is closed.
    first.data = first.data.to(dtype, copy=True)
    deepspeed.zero.Init(module=nn.ParameterList([first]), config_dict_or_path=config, dtype=dtype)
    convert: Any = first
    for parameter in others:
        parameter.data = parameter.data.to(dtype, copy=True)
        convert.convert_to_zero_parameters(param_list=[parameter])
    for module in model.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
