"""Evaluation copies of a user's model: frozen, independent, and without a second set of weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor, fx, nn

from distmlip.models.quiet import quiet

Module = TypeVar("Module", bound=nn.Module)
StandIns = dict[int, object]
"""What a copy has in place of objects of the original, by their id."""


def replicate(
    module: Module,
    device: torch.device,
    dtype: torch.dtype,
    stand_ins: Mapping[int, object] = MappingProxyType({}),
) -> Module:
    """Return a frozen copy of ``module`` in eval mode on ``device``, floating-point tensors in ``dtype``.

    Parameters and buffers share storage with the original where device and dtype agree already; the original
    keeps its dtype, device, mode and ``requires_grad``. Tensors inside TorchScript submodules are copied
    (they copy themselves); TorchScript functions, which have no state, are shared. ``stand_ins`` are what the
    copy has in place of objects of the original, by their id. The ``original`` of a copied parameter is the
    user's own.
    """
    parameters, buffers = list(module.parameters()), list(module.buffers())
    aliases: StandIns = {
        **{id(parameter): _twin(parameter) for parameter in parameters},
        **{id(buffer): buffer.detach() for buffer in buffers},
        **{id(function): function for function in _script_functions(module)},
        **stand_ins,
    }
    with quiet():  # TorchScript modules are copied with functions that are deprecated
        _copy_generated(module, aliases)
        replica = copy.deepcopy(module, aliases)
    originals = {
        name: vars(parameter)["original"]
        for name, parameter in replica.named_parameters(remove_duplicate=False)
        if "original" in vars(parameter)
    }
    # Module.to swaps each parameter's data, so an alias leaves the original's storage when it is converted;
    # for some kinds of devices it makes new parameters, which know of no original.
    replica = replica.to(device=device, dtype=dtype).eval().requires_grad_(False)
    for name, parameter in replica.named_parameters(remove_duplicate=False):
        if name in originals:
            vars(parameter)["original"] = originals[name]
    return replica


def cast_inputs(module: nn.Module, dtype: torch.dtype) -> None:
    """Let a part of a replica that is given tensors in a dtype of their own compute in this one."""
    module.register_forward_pre_hook(partial(_cast, dtype))


def _cast(dtype: torch.dtype, _: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(argument.to(dtype) for argument in arguments)


def _twin(parameter: nn.Parameter) -> nn.Parameter:
    twin = nn.Parameter(parameter.detach(), requires_grad=False)
    vars(twin)["original"] = parameter
    return twin


def _script_functions(module: nn.Module) -> list[torch.jit.ScriptFunction]:
    """TorchScript functions that modules hold, such as activations; they refuse to be copied."""
    attributes = (value for part in module.modules() for value in vars(part).values())
    return [value for value in attributes if isinstance(value, torch.jit.ScriptFunction)]


def _copy_generated(module: nn.Module, copies: StandIns) -> None:
    """Add copies of the parts for which e3nn generated code. They share it: made anew, as by pickling, it
    would take nearly all the time of a replica."""
    parts = [part for part in module.modules() if _has_generated(part)]
    copies.update({id(part): object.__new__(type(part)) for part in parts})
    for part in parts:
        own = {name: value for name, value in vars(part).items() if name != "_modules"}
        children = {
            name: _sharing_code(child, copies)
            if name in vars(part)["__codegen__"]
            else copy.deepcopy(child, copies)
            for name, child in part._modules.items()
        }
        vars(copies[id(part)]).update(copy.deepcopy(own, copies), _modules=children)


def _has_generated(part: nn.Module) -> bool:
    """Whether it is of e3nn's ``CodeGenMixin``, with code that is Python."""
    set_state = getattr(type(part), "__setstate__", None)
    if getattr(set_state, "__qualname__", "") != "CodeGenMixin.__setstate__":
        return False
    names = vars(part).get("__codegen__", [])
    return bool(names) and all(isinstance(part._modules.get(name), fx.GraphModule) for name in names)


def _sharing_code(graph: nn.Module | None, copies: StandIns) -> nn.Module:
    assert graph is not None
    twin: nn.Module = object.__new__(type(graph))
    copies[id(graph)] = twin
    shared = {"_graph": vars(graph)["_graph"]}
    own = {name: value for name, value in vars(graph).items() if name not in shared}
    vars(twin).update(copy.deepcopy(own, copies), **shared)
    return twin
