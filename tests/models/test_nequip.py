"""NequIP and Allegro over partitions give what the undivided models give, and compute nothing twice."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import e3nn
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from nequip.integrations.ase import NequIPCalculator
from nequip.integrations.utils import basic_transforms
from nequip.nn.graph_model import GraphModel
from nequip.utils.dtype import torch_default_dtype
from support.contract import (
    PARTITIONS,
    ModelContract,
    assert_nothing_is_computed_twice,
    count_inputs,
    energy_of,
)
from support.nequip_models import ALLEGRO, NARROW, NARROW_ALLEGRO, PLAIN, SYMBOLS, build_narrow, narrow
from support.originals import training_difference
from support.structures import STRUCTURES, Structure, rattled, small_oxide

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.named import named_model
from distmlip.models.nequip.adapter import adapt, named

DATA = Path(__file__).parents[1] / "data"


class TestNequIP(ModelContract):
    kinds = tuple(NARROW)

    def model(self, kind: str) -> GraphModel:
        return narrow(kind)

    def fresh_model(self) -> GraphModel:
        return build_narrow(self.kinds[0])

    def reference_structure(self, structure: Structure) -> Atoms:
        """NequIP's calculator is right about every boundary."""
        return structure.atoms


@pytest.mark.slow
class TestNequIPByItsOwnModules(TestNequIP):
    """Native stages run by default."""

    kernels = "original"


class TestAllegro(TestNequIP):
    kinds = tuple(NARROW_ALLEGRO)


PARTS = re.compile(
    r"model\.func\.("
    r"layer\d+_convnet\.(conv\.(linear_1|linear_2|sc|edge_mlp|tp_scatter\.tp)|equivariant_nonlin)"
    r"|(spharm|tensor_embed)\.sh|(per_atom_energy_readout|scalar_embed_mlp|edge_readout)\.mlp_module"
    r"|allegro\.(latents\.\d+|first_layer_env_embed_projection))"
)
ON_HALO_TOO = "model.func.layer0_convnet.conv.linear_1"
"""What depends on types only, and is read at the senders of edges."""


@pytest.mark.parametrize(
    ("kind", "partitions"),
    [*((PLAIN, partitions) for partitions in PARTITIONS), ("residual", 3), (ALLEGRO, 3)],
)
def test_nothing_is_computed_twice(kind: str, partitions: int | str) -> None:
    original = adapt(narrow(kind)).original()
    assert_nothing_is_computed_twice(
        narrow(kind),
        STRUCTURES["metal_with_vacancies"]().atoms,
        partitions,
        count_rows,
        (original, original.model),
        expected_rows,
    )


def count_rows(module: torch.nn.Module, rows: Counter[str]) -> None:
    """Count the rows of the first argument in every call of a part that computes atoms or edges."""
    known = ((name, part) for name, part in module.named_modules() if PARTS.fullmatch(name))
    count_inputs(known, rows)


def expected_rows(name: str, rows: int, calculator: DistCalculator) -> int:
    return rows + sum(calculator.plan().halo) if name == ON_HALO_TOO else rows


# ---- types


def theirs(model: GraphModel, species: dict[str, str], **options: Any) -> NequIPCalculator:
    transforms = basic_transforms(model.metadata, 4.5, list(model.type_names), species)
    return NequIPCalculator(model, "cpu", transforms=transforms, **options)


RENAMED = {symbol: f"{symbol}7" for symbol in SYMBOLS}
"""Names of types that are no symbols."""


def renamed_model() -> GraphModel:
    energies = {"per_type_energy_scales": 200.0, "per_type_energy_shifts": -3.0}
    return build_narrow(type_names=list(RENAMED.values()), **energies)


def test_types_of_other_names_need_a_map() -> None:
    model, atoms = renamed_model(), small_oxide()
    with pytest.raises(InvalidInputError, match=r"symbols .*7.*give \{symbol: type\}"):
        DistCalculator(model)
    swapped = {**RENAMED, "Li": RENAMED["Mn"], "Mn": RENAMED["Li"]}
    energies = {}
    for species in (RENAMED, swapped):
        ours = DistCalculator(model, partitions=3, chemical_species_to_atom_type_map=species)
        assert ours.verify(atoms).forces < 1e-9
        energies[species["Li"]] = energy_of(ours, atoms)
        of_calculator = DistCalculator(theirs(model, species), partitions=3)
        assert energy_of(of_calculator, atoms) == energies[species["Li"]]
    assert len(set(energies.values())) == 2
    with pytest.raises(InvalidInputError, match="types named Xx"):
        DistCalculator(model, chemical_species_to_atom_type_map={"Li": "Xx"})


def test_results_are_those_of_the_users_calculator() -> None:
    atoms, identity = small_oxide(), {symbol: symbol for symbol in SYMBOLS}
    for kind in (PLAIN, ALLEGRO):
        with torch_default_dtype(torch.float64):  # as nequip's own loaders leave it
            expected = energy_of(theirs(narrow(kind), identity), atoms)
        assert energy_of(DistCalculator(narrow(kind), partitions=3), atoms) == pytest.approx(
            expected, rel=1e-12
        )


# ---- dtypes


@pytest.mark.parametrize("kind", [PLAIN, "like_the_preset_m", ALLEGRO, "allegro of splines"])
def test_models_in_single_precision(kind: str) -> None:
    """Their lengths, radial functions, scales and shifts are in float64, and stay so."""
    model, atoms = build_narrow(kind, model_dtype="float32"), small_oxide()
    ours = DistCalculator(model, partitions=3)
    ours.calculate(atoms)
    verification = ours.verify(atoms)
    largest = max(1.0, np.abs(ours.results["forces"]).max())
    assert verification.forces < 5e-6 * largest
    assert verification.energy_per_atom < 5e-7 * largest
    replica = adapt(model).replicate(0, torch.device("cpu"))
    dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    assert {name: tensor.dtype for name, tensor in replica.state_dict().items()} == dtypes
    assert set(dtypes.values()) >= {torch.float32, torch.float64}
    assert DistCalculator(model, partitions=3, dtype="float64").verify(atoms).forces < 1e-9


# ---- packages


def test_models_from_packages(tmp_path: Any) -> None:
    """Whose classes are copies of nequip's that came with the model."""
    path, model = tmp_path / "model.zip", narrow(PLAIN)
    with torch.package.PackageExporter(path) as exporter:
        exporter.intern(["e3nn.**", "nequip.**"])
        exporter.mock(["matplotlib.**", "matplotlib"])
        exporter.extern("**")
        exporter.save_pickle("model", "model.pkl", model)
    packaged = torch.package.PackageImporter(path).load_pickle("model", "model.pkl")
    assert type(packaged) is not GraphModel
    atoms = small_oxide()
    ours = DistCalculator(packaged, partitions=3)
    assert energy_of(ours, atoms) == energy_of(DistCalculator(model, partitions=3), atoms)
    assert ours.verify(atoms).forces < 1e-9


def test_checkpoints_and_packages_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nequip's own commands write."""
    frames = []
    for seed in range(8):
        atoms = rattled(bulk("Cu", cubic=True) * (2, 2, 1), 0.1, seed)
        atoms.numbers[:5] = 13
        atoms.calc = SinglePointCalculator(atoms, energy=0.1 * seed, forces=np.ones((len(atoms), 3)))
        frames.append(atoms)
    write(tmp_path / "data.extxyz", frames)
    for arguments in (
        ["nequip-train", "-cp", str(DATA), "-cn", "nequip.yaml"],
        ["nequip-package", "build", "best.ckpt", "model.nequip.zip"],
    ):
        command = [str(Path(sys.executable).parent / arguments[0]), *arguments[1:]]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    monkeypatch.chdir(tmp_path)
    default = torch.get_default_dtype()
    try:
        energies = []
        for name in ("best.ckpt", "model.nequip.zip"):
            theirs = named_model(f"nequip:{name}")
            ours = DistCalculator(theirs, partitions=3, dtype="float64")
            assert ours.verify(frames[0]).forces < 1e-9
            assert ours.plan(frames[0]).kernels.startswith("native stages")
            energies.append(energy_of(ours, frames[0]))
            assert energies[-1] == pytest.approx(energy_of(theirs, frames[0]), abs=1e-4)
        assert energies[0] == energies[1]
    finally:
        torch.set_default_dtype(default)  # nequip's loaders leave another one


def test_maps_that_are_none() -> None:
    with pytest.raises(InvalidInputError, match=r"map=\['Mn', 'O'\]; it must be a dictionary"):
        DistCalculator(narrow(PLAIN), chemical_species_to_atom_type_map=["Mn", "O"])


def test_files_that_are_none(tmp_path: Path) -> None:
    default = torch.get_default_dtype()
    (tmp_path / "other.ckpt").write_text("no checkpoint")
    with pytest.raises(InvalidInputError, match=r"nequip:.*other\.ckpt.*runs code that is in it"):
        named_model(f"nequip:{tmp_path / 'other.ckpt'}")
    assert torch.get_default_dtype() == default


def test_e3nn_is_left_as_it_was(tmp_path: Any) -> None:
    """Its settings are those of all packages that use it."""
    before = e3nn.get_optimization_defaults()
    build_narrow(PLAIN)
    with pytest.raises(InvalidInputError, match=r"nequip:.*none\.ckpt"):
        named(str(tmp_path / "none.ckpt"))
    assert e3nn.get_optimization_defaults() == before


# ---- training


@pytest.mark.parametrize("kind", [PLAIN, "residual", ALLEGRO])
def test_training(kind: str) -> None:
    """Parameter gradients of a loss of energy, forces and stress are the undivided model's."""
    assert training_difference(build_narrow(kind), small_oxide(), partitions=3) <= 1e-9


# ---- what is refused


def test_compiled_models() -> None:
    compiled = theirs(narrow(PLAIN), {symbol: symbol for symbol in SYMBOLS})
    compiled.model = torch.nn.Identity()
    with pytest.raises(UnsupportedModelError, match=r"Identity.*nequip-compile.*load_saved_model"):
        DistCalculator(compiled)


def test_parts_that_are_not_known() -> None:
    model = build_narrow()
    model.model.func._modules["spharm"] = torch.nn.Identity()
    with pytest.raises(UnsupportedModelError, match=r"spharm of the model is a .*Identity"):
        DistCalculator(model)
    potential = {"_target_": "nequip.nn.pair_potential.LennardJones", "lj_sigma": 1.0, "lj_epsilon": 1.0}
    with pytest.raises(UnsupportedModelError, match=r"pair_potential of the model is a .*LennardJones"):
        DistCalculator(build_narrow(pair_potential=potential))


def test_accelerated_products() -> None:
    model = build_narrow()
    model.model.func.layer1_convnet.conv.tp_scatter = torch.nn.Identity()
    with pytest.raises(
        UnsupportedModelError, match=r"layer1_convnet.*TensorProductScatter.*without modifiers"
    ):
        DistCalculator(model)
    model = build_narrow(ALLEGRO)
    model.model.func.allegro.tps[0] = torch.nn.Identity()
    with pytest.raises(UnsupportedModelError, match=r"allegro of the model .*Contracter"):
        DistCalculator(model)


def test_fields_of_the_whole_system() -> None:
    fields = [{"field": "charge", "num_features": 4, "min": -3, "max": 3}]
    model = build_narrow("residual", categorical_graph_field_embed=fields)
    with pytest.raises(UnsupportedModelError, match=r"type_embed of the model reads .*charge"):
        DistCalculator(model)


def test_other_units() -> None:
    calculator = theirs(narrow(PLAIN), {symbol: symbol for symbol in SYMBOLS}, energy_units_to_eV=27.2)
    with pytest.raises(UnsupportedModelError, match=r"energy_units_to_eV=27\.2"):
        DistCalculator(calculator)


def test_several_models() -> None:
    with pytest.raises(UnsupportedModelError, match="list"):
        DistCalculator([narrow(), narrow()])


def test_forces_do_not_vanish() -> None:
    """What the other tests compare is worth comparing."""
    for kind in (PLAIN, ALLEGRO):
        calculator = DistCalculator(narrow(kind))
        calculator.calculate(small_oxide())
        assert np.abs(calculator.results["forces"]).max() > 1
