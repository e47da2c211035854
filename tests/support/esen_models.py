"""eSEN and UMA models of every kind with random weights: narrow ones for the full matrix, published sizes."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from ase import Atoms
from fairchem.core.models.base import HydraModel
from fairchem.core.units.mlip_unit import InferenceSettings, MLIPPredictUnit
from fairchem.core.units.mlip_unit.api.inference import MLIPInferenceCheckpoint
from support.parity import all_results
from support.torch_globals import torch_globals

MODELS = "fairchem.core.models"
DATASETS = {"omat": "omat", "omol": "omol", "omat_subset": "omat"}
N_NUMBERS = 100

EFS = {"efs": {"module": f"{MODELS}.uma.escn_md.MLP_EFS_Head", "wrap_property": True}}
BY_DATASET = {
    "energyandforcehead": {
        "module": f"{MODELS}.uma.escn_moe.DatasetSpecificMoEWrapper",
        "dataset_mapping": DATASETS,
        "head_cls": f"{MODELS}.uma.escn_md.MLP_EFS_Head",
        "head_kwargs": {"wrap_property": False},
    }
}
SINGLE_BY_DATASET = {
    "heads": {
        "module": f"{MODELS}.uma.escn_moe.DatasetSpecificSingleHeadWrapper",
        "dataset_names": list(DATASETS),
        "head_cls": f"{MODELS}.uma.escn_md.MLP_EFS_Head",
        "head_kwargs": {"wrap_property": False},
    }
}
PREFIXED = {"efs": {**EFS["efs"], "prefix": "omat"}}
DIRECT_HEADS = {
    "energy": {"module": f"{MODELS}.uma.escn_md.MLP_Energy_Head"},
    "forces": {"module": f"{MODELS}.uma.escn_md.Linear_Force_Head"},
    "stress": {"module": f"{MODELS}.uma.escn_md.MLP_Stress_Head"},
}
DIRECT_BY_DATASET = {
    name: {**BY_DATASET["energyandforcehead"], "head_cls": head["module"], "head_kwargs": {}}
    for name, head in DIRECT_HEADS.items()
}
EXPERTS = {"num_experts": 4, "use_composition_embedding": True, "moe_layer_type": "pytorch"}

NARROW: dict[str, dict[str, Any]] = {
    "uma": {**EXPERTS, "heads": BY_DATASET, "model_id": "UMA-S-1.2.1"},
    "esen": {},
    "broken_extensivity": {
        **EXPERTS,
        "heads": BY_DATASET,
        "model_id": "UMA-S-1.2",
        "charge_balanced_channels": [0],
        "spin_balanced_channels": [1],
    },
    "shared_experts": {
        **EXPERTS,
        "moe_type": "all",
        "moe_single": True,
        "moe_expert_coefficient_norm": "pnorm",
        "heads": SINGLE_BY_DATASET,
    },
    "layer_norm_on_a_grid": {"norm_type": "layer_norm", "ff_type": "grid", "lmax": 3, "mmax": 2},
    "s2_activation": {"norm_type": "layer_norm_sh", "act_type": "s2", "chg_spin_emb_type": "pos_emb"},
    "euler_angles": {"use_quaternion_wigner": False, "lmax": 3, "mmax": 1, "use_dataset_embedding": False},
    "high_degree": {"lmax": 5, "mmax": 2, "sphere_channels": 8, "num_layers": 1},
    "balanced": {
        "num_layers": 3,
        "charge_balanced_channels": [0, 1, 2],
        "spin_balanced_channels": [3, 4],
        "chg_spin_emb_type": "lin_emb",
    },
    "few_neighbors": {"max_neighbors": 9, "heads": PREFIXED},
    "mean_energy": {"heads": {"efs": {**EFS["efs"], "reduce": "mean"}}},
}
"""What each kind of model changes of :func:`build`'s defaults."""

_DIRECT = {"direct_forces": True, "regress_stress": True, "direct_stress": True}
DIRECT = {
    "alone": {**_DIRECT, "heads": DIRECT_HEADS},
    "by dataset": {**_DIRECT, **EXPERTS, "heads": DIRECT_BY_DATASET},
}
"""Models whose heads predict forces and stress."""

PUBLISHED: dict[str, dict[str, Any]] = {
    "sm": {"num_layers": 4, "lmax": 2},
    "30M": {"num_layers": 10, "lmax": 3},
}
PARAMETERS = {"sm": 6_349_569, "30M": 30_249_473}


def config_of(**changes: Any) -> dict[str, Any]:
    """The configuration of a model, as checkpoints have it; 16 channels, two layers."""
    heads = changes.pop("heads", EFS)
    model_id = changes.pop("model_id", None)
    kind = "escn_moe.eSCNMDMoeBackbone" if "num_experts" in changes else "escn_md.eSCNMDBackbone"
    backbone = {
        "model": f"{MODELS}.uma.{kind}",
        "max_num_elements": N_NUMBERS,
        "sphere_channels": 16,
        "hidden_channels": 16,
        "edge_channels": 16,
        "num_distance_basis": 12,
        "lmax": 2,
        "mmax": 2,
        "num_layers": 2,
        "cutoff": 4.5,
        "max_neighbors": 300,
        "otf_graph": True,
        "always_use_pbc": False,
        "direct_forces": False,
        "regress_forces": True,
        "regress_stress": True,
        "norm_type": "rms_norm_sh",
        "act_type": "gate",
        "ff_type": "spectral",
        "chg_spin_emb_type": "rand_emb",
        "dataset_mapping": DATASETS,
        **changes,
    }
    return {
        "_target_": f"{MODELS}.base.HydraModel",
        "backbone": backbone,
        "heads": heads,
        "pass_through_head_outputs": heads is not DIRECT_HEADS,
        "model_id": model_id,
    }


def tasks_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Energy, forces and stress for every dataset that the heads tell apart, with normalisers."""
    heads = config["heads"]
    datasets = {"omat": (2.0, 0.3), "omol": (1.5, 0.0)}
    prefixes = {dataset: f"{dataset}_" for dataset in datasets}
    if heads not in (BY_DATASET, SINGLE_BY_DATASET, DIRECT_BY_DATASET):
        datasets = {"omat": (2.0, 0.0)}
        prefixes = {"omat": "omat_" if heads is PREFIXED else ""}
    direct = heads in (DIRECT_HEADS, DIRECT_BY_DATASET)
    forces, stress = (0.9, 1.1) if direct or heads is EFS else (1.0, 1.0)
    return [
        task
        for dataset, (rmsd, mean) in datasets.items()
        for task in (
            _task(f"{prefixes[dataset]}energy", "energy", [dataset], rmsd, mean, references=True),
            _task(f"{prefixes[dataset]}forces", "forces", [dataset], forces * rmsd, 0.01 * direct),
            _task(f"{prefixes[dataset]}stress", "stress", [dataset], stress * rmsd, -0.02 * direct),
        )
    ]


def _task(
    name: str, output: str, datasets: list[str], rmsd: float, mean: float = 0.0, references: bool = False
) -> dict[str, Any]:
    unit = "fairchem.core.units.mlip_unit.mlip_unit"
    normalization = "fairchem.core.modules.normalization"
    task = {
        "_target_": f"{unit}.Task",
        "name": name,
        "level": "atom" if output == "forces" else "system",
        "property": output,
        "out_spec": {"_target_": f"{unit}.OutputSpec", "dim": [1], "dtype": "float32"},
        "normalizer": {"_target_": f"{normalization}.normalizer.Normalizer", "mean": mean, "rmsd": rmsd},
        "datasets": datasets,
    }
    if references:
        task["element_references"] = {
            "_target_": f"{normalization}.element_references.ElementReferences",
            "element_references": {
                "_target_": "torch.DoubleTensor",
                "_args_": [[-0.1 * number for number in range(N_NUMBERS)]],
            },
        }
    return task


@functools.cache
def narrow(kind: str) -> HydraModel:
    """A model of a kind that tests do not change."""
    return build(**NARROW[kind])


@functools.cache
def published(name: str, dtype: torch.dtype = torch.float32) -> HydraModel:
    """A model of a published size. One that is made in float32 has constants of rotations that are rounded,
    also where it is evaluated in float64."""
    sizes = dict.fromkeys(("sphere_channels", "hidden_channels", "edge_channels"), 128)
    model = build(dtype, **sizes, num_distance_basis=64, cutoff=6.0, mmax=2, **PUBLISHED[name])
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert n_parameters == PARAMETERS[name], n_parameters
    return model


def build(
    dtype: torch.dtype = torch.float64, *, tasks: bool = True, seed: int = 0, **changes: Any
) -> HydraModel:
    """A model with random weights, steep enough for forces of the order of 1 eV/Å."""
    config = config_of(**changes)
    with torch_globals(seed, dtype):
        model = hydra.utils.instantiate(config).to(dtype).eval()
        _randomise(model)
        if tasks:
            model.setup_tasks(tasks_of(config))
    return model


@torch.no_grad()
def _randomise(model: HydraModel) -> None:
    """Make what a training would: norms that are not 1, embeddings and gates that tell their inputs apart."""
    for name, parameter in model.named_parameters():
        if ".norm" in name or ".net.1." in name or ".net.4." in name:
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        elif "source_embedding" in name or "target_embedding" in name:
            parameter.normal_(std=0.5)
        elif "routing_mlp" in name:
            parameter.mul_(3.0)
    for name, parameter in model.output_heads.named_parameters():
        if re.search(r"energy_block\.4\.|energy_block\.\w+$|\.linear\.", name):
            parameter.mul_(200.0)


def unit(
    folder: Path, *, model: HydraModel | None = None, settings: Any = None, **changes: Any
) -> MLIPPredictUnit:
    """A predict unit, loaded from a checkpoint that is made in ``folder``; in float64 by default."""
    config = config_of(**changes)
    model = build(**changes) if model is None else model
    weights = model.state_dict()
    checkpoint = MLIPInferenceCheckpoint(
        model_config=config,
        model_state_dict=weights,
        ema_state_dict={
            "n_averaged": torch.tensor(0),
            **{f"module.{name}": tensor for name, tensor in weights.items()},
        },
        tasks_config=tasks_of(config),
    )
    path = folder / "inference_ckpt.pt"
    torch.save(checkpoint, path)
    options = {"base_precision_dtype": torch.float64, "activation_checkpointing": False, **(settings or {})}
    return MLIPPredictUnit(str(path), device="cpu", inference_settings=InferenceSettings(**options))


def charged(atoms: Atoms, charge: int = 1, spin: int = 2) -> Atoms:
    """Charge and spin multiplicity where fairchem looks for them."""
    atoms.info.update(charge=charge, spin=spin)
    return atoms


def results_of(calculator: Any, atoms: Atoms) -> dict[str, Any]:
    """What a calculator gives for a copy of the atoms, whatever it calculated before."""
    atoms = atoms.copy()
    calculator.calculate(atoms, ["energy"], [])
    return all_results(calculator)


def assert_same_results(ours: dict[str, Any], theirs: dict[str, Any], atol: float = 1e-9) -> None:
    """Everything that the original gives, and it gives something."""
    assert theirs
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=atol, err_msg=name)
