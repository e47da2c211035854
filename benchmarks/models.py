"""The models that benchmarks run, at their published sizes, and what a step with one of them takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

from distmlip import DistCalculator
from distmlip.models import adapter_for

DATA = Path(__file__).parents[1] / "tests" / "data"
TENSORNET = "TensorNet-MatPES-PBE-v2025.1-PES"
MACE_MEDIUM: dict[str, Any] = dict(
    r_max=6.0,
    num_bessel=10,
    num_polynomial_cutoff=5,
    max_ell=3,
    interaction_cls="RealAgnosticResidualInteractionBlock",
    interaction_cls_first="RealAgnosticResidualInteractionBlock",
    num_interactions=2,
    num_elements=89,
    hidden_irreps="128x0e+128x1o",
    MLP_irreps="16x0e",
    avg_num_neighbors=61.964672446250916,
    atomic_numbers=list(range(1, 90)),
    correlation=3,
    radial_MLP=[64, 64, 64],
    radial_type="bessel",
    atomic_inter_scale=200.0,  # forces of order 1 eV/Å; 0.8 gives 0.004 with random weights
    atomic_inter_shift=0.16409696359187365,
    use_reduced_cg=False,  # as published; where cuequivariance is installed mace's default is another basis
)


def chgnet() -> torch.nn.Module:
    """CHGNet 0.3.0 with the weights of its package."""
    from chgnet.model import CHGNet

    return CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)


def mace_medium() -> torch.nn.Module:
    """MACE-MP-0 medium's size (4.7 million parameters) with random weights: no package ships its own."""
    return mace()


def mace(**changes: Any) -> torch.nn.Module:
    """The same with some of the arguments of ``ScaleShiftMACE`` changed, in torch's default dtype.

    Interaction blocks are given by their names, irreps as text.
    """
    torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 loads its constants with pickle
    from e3nn import o3
    from mace.modules import ScaleShiftMACE, gate_dict, interaction_classes

    arguments = MACE_MEDIUM | changes
    for name in ("interaction_cls", "interaction_cls_first"):
        arguments[name] = interaction_classes[arguments[name]]
    for name in ("hidden_irreps", "MLP_irreps"):
        arguments[name] = o3.Irreps(arguments[name])
    torch.manual_seed(0)
    return ScaleShiftMACE(**arguments, atomic_energies=np.zeros(89), gate=gate_dict["silu"])


def tensornet() -> torch.nn.Module:
    """TensorNet-MatPES-PBE-v2025.1 of matgl, pretrained; with warp-lang its layers are warp kernels."""
    return _matgl(TENSORNET)


def tensornet_torch() -> torch.nn.Module:
    """The same model without the kernels, in plain torch."""
    from matgl.apps.pes import Potential
    from matgl.models import TensorNet

    original = tensornet()
    network = TensorNet(**{**original.model._init_args, "use_warp": False})
    model = Potential(network, element_refs=original.element_refs.property_offset)
    weights = torch.load(DATA / TENSORNET / "state.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(weights, strict=False)
    return model


def m3gnet() -> torch.nn.Module:
    """M3GNet-MatPES-PBE-v2025.1 of matgl, pretrained."""
    return _matgl("M3GNet-MatPES-PBE-v2025.1-PES")


def chgnet_matgl() -> torch.nn.Module:
    """CHGNet of matgl at the size of its MatPES models (2.7 million parameters), with random weights."""
    from matgl.apps.pes import Potential
    from matgl.models import CHGNet

    torch.manual_seed(0)
    size = {
        **{f"dim_{of}_embedding": 128 for of in ("atom", "bond", "angle")},
        "max_n": 63,
        "max_f": 32,
        "learn_basis": False,
        "num_blocks": 5,
        **{f"{of}_hidden_dims": (128,) for of in ("atom_conv", "bond_update", "bond_conv")},
        "final_hidden_dims": (128, 128),
        "normalization": "layer",
    }
    return Potential(CHGNet(**size), calc_magmom=True).eval()


def _matgl(name: str) -> torch.nn.Module:
    import matgl

    return matgl.load_model(DATA / name)


def sevennet() -> torch.nn.Module:
    """SevenNet-0 with the weights of its package."""
    from distmlip.models.sevennet.adapter import pretrained

    return pretrained().model


def nequip() -> torch.nn.Module:
    """The size M of nequip's presets, as its foundation models are (6 Å, 89 types), with random weights."""
    from nequip.model import PresetNequIPGNNModel

    return _of_nequip(PresetNequIPGNNModel, preset="M", r_max=6.0)


def allegro() -> torch.nn.Module:
    """Allegro with l_max 2, 2 layers, 64 scalar and 32 tensor features and r_max 6 Å, with random weights."""
    from allegro.model import AllegroModel

    return _of_nequip(
        AllegroModel,
        r_max=6.0,
        l_max=2,
        num_layers=2,
        num_scalar_features=64,
        num_tensor_features=32,
        radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8},
    )


def _of_nequip(build: Callable[..., torch.nn.Module], **size: Any) -> torch.nn.Module:
    from ase.data import chemical_symbols
    from nequip.utils.dtype import torch_default_dtype
    from nequip.utils.global_state import set_global_state

    with torch_default_dtype(torch.get_default_dtype()):
        set_global_state()  # without which its builders refuse to work, and which leaves another default
        return build(
            **size,
            seed=0,
            model_dtype="float32",
            type_names=chemical_symbols[1:90],
            avg_num_neighbors=60.0,
            per_type_energy_scales=20.0,  # forces of order 1 eV/Å
            per_type_energy_shifts=-3.0,
        ).eval()


def orb() -> torch.nn.Module:
    """Orb-v3 conservative with all neighbours within 6 Å (at most 120), with random weights: public ones are
    downloads."""
    from orb_models.forcefield.atomic_system import SystemConfig
    from orb_models.forcefield.pretrained import orb_v3_conservative_architecture

    torch.manual_seed(0)
    model = orb_v3_conservative_architecture(device="cpu", system_config=SystemConfig(6.0, 120)).eval()
    with torch.no_grad():
        model.heads["energy"].mlp[-2].weight.mul_(50)  # forces of order 1 eV/Å
    return model.requires_grad_(False)


def mattersim() -> torch.nn.Module:
    """The size of MatterSim-v1.0.0-1M with random weights: public ones are downloads."""
    from mattersim.forcefield.m3gnet.m3gnet import M3Gnet

    torch.manual_seed(0)
    model = M3Gnet(num_blocks=3, units=128, cutoff=5.0, threebody_cutoff=4.0, device="cpu").eval()
    model.normalizer.scale.mul_(500)  # forces of order 1 eV/Å
    return model.requires_grad_(False)


def esen() -> torch.nn.Module:
    """The size sm of eSEN (6 million parameters, 4 layers, lmax 2) with random weights: none are public."""
    from fairchem.core.models.uma.escn_md import eSCNMDBackbone

    return _of_fairchem(eSCNMDBackbone, 128, use_dataset_embedding=False)


def uma(channels: int = 128, experts: int = 32) -> torch.nn.Module:
    """UMA's kind with random weights; by default of the size of UMA-S (150 million parameters)."""
    from fairchem.core.models.uma.escn_moe import eSCNMDMoeBackbone

    return _of_fairchem(
        eSCNMDMoeBackbone,
        channels,
        num_experts=experts,
        use_composition_embedding=True,
        moe_layer_type="pytorch",
        dataset_mapping={"omat": "omat"},
    )


def _of_fairchem(kind: type, channels: int, **more: Any) -> torch.nn.Module:
    from fairchem.core.models.base import HydraModelV2
    from fairchem.core.models.uma.escn_md import MLP_EFS_Head

    torch.manual_seed(0)
    backbone = kind(
        num_layers=4,
        lmax=2,
        mmax=2,
        sphere_channels=channels,
        hidden_channels=channels,
        edge_channels=channels,
        num_distance_basis=64,
        cutoff=6.0,
        max_num_elements=100,
        max_neighbors=300,
        otf_graph=True,
        direct_forces=False,
        regress_forces=True,
        regress_stress=True,
        norm_type="rms_norm_sh",
        act_type="gate",
        ff_type="spectral",
        always_use_pbc=False,
        **more,
    )
    head = MLP_EFS_Head(backbone, wrap_property=False)
    with torch.no_grad():
        list(head.energy_block.parameters())[-2].mul_(20)  # forces of order 1 eV/Å
    return HydraModelV2(backbone, {"efs": head})


def step(calculator: Calculator, atoms: Atoms, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds, by this clock, of energy, forces and stress."""
    start = clock()
    calculator.calculate(atoms, ["energy", "forces", "stress"], ["positions"])
    return clock() - start


def exchange(calculator: DistCalculator, atoms: Atoms) -> tuple[float, float]:
    """Seconds of a step's exchanges, forward and backward, and of the whole step; all ranks call this."""
    # calculator.profile evaluates three times at least, which takes minutes for the largest systems.
    costs = calculator._evaluator.measure(atoms)
    return sum(of.exchange.seconds + of.exchange_backward.seconds for of in costs.stages), costs.total


MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "allegro": allegro,
    "chgnet": chgnet,
    "esen": esen,
    "m3gnet": m3gnet,
    "mattersim": mattersim,
    "mace": mace_medium,
    "nequip": nequip,
    "orb": orb,
    "sevennet": sevennet,
    "tensornet": tensornet,
    "tensornet_torch": tensornet_torch,
}


def original(model: torch.nn.Module) -> Calculator:
    """The package's own calculator of a model of :data:`MODELS`, in float32."""
    return adapter_for(model, torch.float32).original()
