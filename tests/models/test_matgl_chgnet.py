"""matgl's CHGNet over partitions gives what the undivided one gives, and computes nothing twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from support.contract import PARTITIONS, ModelContract, assert_nothing_is_computed_twice, count_outputs
from support.matgl_threebody_models import (
    ANGLE_READOUTS,
    CHGNETS,
    build_chgnet,
    chgnet,
    chgnet_of_angles,
    forces_of,
    published_chgnet,
)
from support.parity import EXACT, assert_parity
from support.structures import STRUCTURES, Structure, oxide, quartz, rattled

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.matgl.adapter import adapt

# Of matgl, when it makes its float32 graphs.
pytestmark = pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy.ndarrays:UserWarning")


class TestCHGNet(ModelContract):
    kinds = tuple(CHGNETS)
    published = ("2.7M",)
    slow = published

    def model(self, kind: str) -> Potential:
        return chgnet(kind)

    def published_model(self, name: str) -> Potential:
        return published_chgnet()

    def fresh_model(self) -> Potential:
        return build_chgnet(**CHGNETS["plain"]).train()


@pytest.mark.parametrize("partitions", [2, 8])
@pytest.mark.parametrize("build", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("kind", ["without_edge_update", "layer_norm"])
def test_other_kinds_on_any_structure(kind: str, build: Callable[[], Structure], partitions: int) -> None:
    TestCHGNet().check(chgnet(kind), kind, build(), partitions)


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_published_size(dtype: torch.dtype, partitions: int) -> None:
    assert sum(parameter.numel() for parameter in published_chgnet().parameters()) == 2_732_674
    assert_parity(published_chgnet(), quartz().atoms, partitions, dtype)


@pytest.mark.parametrize("partitions", [1, 3, 8])
@pytest.mark.parametrize("structure", ["oxide", "two_far_apart_molecules", "thin_in_all_directions"])
@pytest.mark.parametrize("kind", ANGLE_READOUTS)
def test_energies_of_angles(kind: str, structure: str, partitions: int) -> None:
    built = STRUCTURES[structure]()
    model = chgnet_of_angles(kind)
    assert_parity(model, built.atoms, partitions, reference_atoms=built.reference, strong_forces=False)


@pytest.mark.parametrize("partitions", [1, 4])
def test_weights_that_matgl_rounds_are_float32_only(partitions: int) -> None:
    """With these the original does not run in float64."""
    changes = {"layer_bond_weights": "both", "bond_update_hidden_dims": (16,), "steepness": 20.0}
    model, atoms = build_chgnet(**changes).float(), oxide().atoms
    calculator = DistCalculator(model, partitions=partitions)
    calculator.calculate(atoms)
    theirs = adapt(model).original()
    theirs.calculate(atoms)
    largest = np.abs(theirs.results["forces"]).max()
    assert largest > 0.1
    np.testing.assert_allclose(
        calculator.results["forces"], theirs.results["forces"], rtol=0, atol=1e-4 * largest
    )
    assert abs(calculator.results["energy"] - theirs.results["energy"]) / len(atoms) < 1e-4
    with pytest.raises(InvalidInputError, match=r"float64; this CHGNet .* in torch.float32$"):
        DistCalculator(model, dtype="float64")


@pytest.mark.parametrize("a", [2.25, 3.0])
def test_atoms_at_the_cutoff_itself(a: float) -> None:
    """At 4.5 Å, or at the cutoff of angles, where matgl still counts them."""
    assert_parity(chgnet("plain"), bulk("Cu", "sc", a=a) * (2, 2, 2), 3, strong_forces=False)


@pytest.mark.parametrize("pbc", [(True, False, False), (False, True, True), (False, False, False)])
def test_partly_periodic_atoms_are_as_in_vacuum(pbc: tuple[bool, bool, bool]) -> None:
    atoms = rattled(bulk("MnO", "rocksalt", a=4.44, cubic=True) * (2, 1, 1), 0.1)
    boxed = atoms.copy()
    atoms.pbc = pbc
    boxed.set_cell(np.where(pbc, boxed.cell.lengths(), 25.0), scale_atoms=False)
    assert_parity(chgnet("plain"), atoms, 3, reference_atoms=boxed)


@pytest.mark.parametrize("partitions", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", ["plain", "without_edge_update"])
def test_bonds_that_are_cut_where_only_one_side_has_angles(kind: str, partitions: int) -> None:
    """A chain: the bonds at its ends belong to an angle at one of their atoms only."""
    chain = Atoms("HOOOOH", positions=[[1.2 * i, 0.4 * (i % 2), 0.1 * i * i] for i in range(6)])
    boxed = chain.copy()
    boxed.set_cell([20.0, 20.0, 20.0])
    boxed.pbc = True
    assert_parity(chgnet(kind), chain, partitions, reference_atoms=boxed, method="slab")


# ---- magnetic moments


def test_magmoms_are_one_per_atom() -> None:
    atoms = oxide().atoms
    atoms.calc = DistCalculator(chgnet("plain"), partitions=3)
    magmoms = atoms.get_magnetic_moments()
    assert magmoms.shape == (len(atoms),)
    theirs = PESCalculator(chgnet("plain"), stress_unit="eV/A3")
    theirs.calculate(atoms)
    np.testing.assert_allclose(magmoms, theirs.results["magmoms"][:, 0], atol=1e-4)
    assert atoms.calc.verify(atoms).magmoms <= EXACT["magmoms"]


def test_magmoms_of_several_targets_are_columns() -> None:
    atoms = oxide().atoms
    calculator = DistCalculator(chgnet("three_site_targets"), partitions=3)
    calculator.calculate(atoms)
    assert calculator.results["magmoms"].shape == (len(atoms), 3)
    assert calculator.verify(atoms).magmoms <= EXACT["magmoms"]


def test_magmoms_only_if_the_potential_gives_them() -> None:
    calculator = DistCalculator(build_chgnet(calc_magmom=False), partitions=2)
    calculator.calculate(oxide().atoms)
    assert "magmoms" not in calculator.results
    assert "magmoms" not in calculator.implemented_properties


# ---- nothing is computed twice

COUNTED = re.compile(
    r"model\.(\w+_expansion|\w+_embedding|\w+_bond_weights|final_layer|sitewise_readout"
    r"|atom_graph_layers\.\d+\.(atom_norm|bond_norm)"
    r"|(atom|bond)_graph_layers\.\d+\.conv\.\w+_func)"
)
"""Submodules that compute atoms, edges, nodes of the line graph or angles."""
DEAD = "model.bond_graph_layers.2.conv.edge_update_func"
"""Angles that the original computes last, and nothing reads."""


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("kind", ["plain", "without_edge_update", "layer_norm"])
@pytest.mark.parametrize("structure", ["oxide", "thin_in_all_directions"])
def test_nothing_is_computed_twice(structure: str, kind: str, partitions: int | str) -> None:
    model, atoms = chgnet(kind), STRUCTURES[structure]().atoms
    original = adapt(model).original()

    def expected(name: str, rows: int, calculator: DistCalculator) -> int:
        if name == DEAD:
            return 0
        if name == "model.bond_bond_weights" and kind == "without_edge_update":
            return 0  # nothing reads these, either
        return rows + sum(calculator.plan().halo) if name == "model.atom_embedding" else rows

    assert_nothing_is_computed_twice(
        model, atoms, partitions, count_rows, (original, original.potential), expected
    )


def count_rows(module: torch.nn.Module, rows: Counter[str]) -> None:
    """Of the submodules that do the work, also if they never run."""
    parts = {name: part for name, part in module.named_modules() if COUNTED.fullmatch(name)}
    rows.update(dict.fromkeys(parts, 0))
    count_outputs(parts.items(), rows)


def test_exchanges_of_a_block() -> None:
    """Atoms and cut bonds before a block, cut bonds before the line graph, and none that is not needed."""
    exchanges = {
        kind: [
            [exchange.kind for exchange in stage.before]
            for stage in adapt(chgnet(kind)).stages(
                adapt(chgnet(kind)).replicate(0, torch.device("cpu")), True
            )
        ]
        for kind in ("plain", "without_edge_update", "without_line_graph")
    }
    assert exchanges == {
        "plain": [[], ["swap"], *[["halo", "swap"], ["swap"]] * 2, ["halo", "swap"]],
        "without_edge_update": [[], *[["halo", "swap"]] * 3],
        "without_line_graph": [[], *[["halo"]] * 3],
    }


def test_every_layer_and_the_angles_matter() -> None:
    """Else the tests would prove little."""
    atoms = oxide().atoms
    forces = forces_of(chgnet("plain"), atoms)
    layers = [("atom_graph_layers", block, "node_out_func") for block in range(4)]
    layers += [("bond_graph_layers", block, "node_out_func") for block in range(3)]
    layers += [("bond_graph_layers", block, "edge_update_func") for block in range(2)]
    for part, block, name in layers:
        without = build_chgnet(**CHGNETS["plain"])
        with torch.no_grad():
            for parameter in getattr(getattr(without.model, part)[block].conv, name).parameters():
                parameter.zero_()
        change = np.abs(forces_of(without, atoms) - forces).max()
        assert change > 0.002 * np.abs(forces).max(), f"{part}[{block}].{name} changes {change} eV/Å"


# ---- what is refused

REFUSED: dict[str, dict[str, Any]] = {
    "dim_state_feats": {"dim_state_feats": 3, "dim_state_embedding": 4},
    "dim_state_embedding": {"dim_state_embedding": 4},
    "pooling_operation='mean'": {"pooling_operation": "mean"},
    "num_targets=2": {"num_targets": 2},
    "num_targets=3": {"num_targets": 3, "final_mlp_type": "gated"},
    "CHGNet has no magmoms": {"num_site_targets": 0},
}


@pytest.mark.parametrize(("message", "changes"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_distributed_is_refused_by_name(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        DistCalculator(build_chgnet(**changes))
