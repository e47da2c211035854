"""matgl's M3GNet over partitions gives what the undivided one gives, and computes nothing twice."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from matgl.apps.pes import Potential
from support.contract import PARTITIONS, ModelContract, assert_nothing_is_computed_twice, count_outputs
from support.matgl_models import pretrained
from support.matgl_threebody_models import M3GNETS, build_m3gnet, forces_of, m3gnet
from support.parity import assert_parity
from support.structures import STRUCTURES, oxide, rattled

from distmlip import DistCalculator
from distmlip.errors import UnsupportedModelError
from distmlip.models.matgl.adapter import adapt

pytestmark = [
    # Of matgl, when it makes its float32 graphs, and with use_phi.
    pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy.ndarrays:UserWarning"),
    pytest.mark.filterwarnings("ignore:Casting complex values to real:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
]

MATPES = "M3GNet-MatPES-PBE-v2025.1-PES"


class TestM3GNet(ModelContract):
    kinds = tuple(M3GNETS)
    published = (MATPES,)

    def model(self, kind: str) -> Potential:
        return m3gnet(kind)

    def published_model(self, name: str) -> Potential:
        return pretrained(name)

    def fresh_model(self) -> Potential:
        return build_m3gnet().train()


def test_atoms_at_the_cutoff_itself() -> None:
    """At 4.5 Å, where matgl still counts them and forces have a kink."""
    assert_parity(m3gnet("plain"), bulk("Cu", "sc", a=2.25) * (2, 2, 2), 3, strong_forces=False)


@pytest.mark.parametrize("pbc", [(True, False, False), (False, True, True), (False, False, False)])
def test_partly_periodic_atoms_are_as_in_vacuum(pbc: tuple[bool, bool, bool]) -> None:
    atoms = rattled(bulk("MnO", "rocksalt", a=4.44, cubic=True) * (2, 1, 1), 0.1)
    boxed = atoms.copy()
    atoms.pbc = pbc
    boxed.set_cell(np.where(pbc, boxed.cell.lengths(), 25.0), scale_atoms=False)
    assert_parity(m3gnet("plain"), atoms, 3, reference_atoms=boxed)


def test_atoms_without_an_angle_where_the_original_fails() -> None:
    """With use_phi its basis has another width if there are no angles; here the same energies hold."""
    far_apart = Atoms("O2", positions=[[0.0, 0.0, 0.0], [1.4, 0.1, 0.2]])
    atoms = far_apart.copy()
    atoms.calc = DistCalculator(m3gnet("with_phi"), partitions=2)
    energy = atoms.get_potential_energy()
    third = far_apart + Atoms("O", positions=[[20.0, 0.0, 0.0]])
    third.calc = DistCalculator(m3gnet("with_phi"), partitions=3)
    alone = Atoms("O")
    alone.calc = DistCalculator(m3gnet("with_phi"), partitions=1)
    mean = float(m3gnet("with_phi").data_mean)
    total = energy + alone.get_potential_energy() - mean
    assert third.get_potential_energy() == pytest.approx(total, abs=1e-10)


COUNTED = re.compile(
    r"model\.(bond_expansion|basis_expansion|embedding\.layer_(node|edge)_embedding"
    r"|three_body_interactions\.\d+\.(update_network_(atom|bond)|end_atom_network)"
    r"|graph_layers\.\d+\.conv\.(edge|node)_(update|weight)_func|final_layer)"
)
"""Submodules that compute edges, angles or atoms."""
OF_SPECIES = {"model.embedding.layer_node_embedding", "model.three_body_interactions.0.update_network_atom"}
"""What runs on halo rows, too."""


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("structure", ["metal_with_vacancies", "oxide", "thin_in_all_directions"])
def test_nothing_is_computed_twice(structure: str, partitions: int | str) -> None:
    model = m3gnet("plain")
    original = adapt(model).original()

    def expected(name: str, rows: int, calculator: DistCalculator) -> int:
        return rows + sum(calculator.plan().halo) if name in OF_SPECIES else rows

    assert_nothing_is_computed_twice(
        model,
        STRUCTURES[structure]().atoms,
        partitions,
        count_rows,
        (original, original.potential),
        expected,
    )


def count_rows(module: torch.nn.Module, rows: Counter[str]) -> None:
    """Of the submodules that do the work."""
    parts = (
        (name.replace("end_atom_network", "update_network_atom"), part)
        for name, part in module.named_modules()
        if COUNTED.fullmatch(name) and not isinstance(part, torch.nn.Identity)
    )
    count_outputs(parts, rows)


def test_every_block_and_the_angles_matter() -> None:
    """Else the tests would prove little."""
    atoms = oxide().atoms
    forces = forces_of(m3gnet("plain"), atoms)
    for part, name in (("three_body_interactions", "update_network_bond"), ("graph_layers", "node_update")):
        for block in range(3):
            without = build_m3gnet()
            with torch.no_grad():
                for parameter_name, parameter in getattr(without.model, part)[block].named_parameters():
                    if name in parameter_name:
                        parameter.zero_()
            change = np.abs(forces_of(without, atoms) - forces).max()
            assert change > 0.01 * np.abs(forces).max(), f"{part}[{block}] changes forces by {change} eV/Å"


def test_the_users_interactions_keep_their_networks() -> None:
    model = build_m3gnet()
    forces_of(model, oxide().atoms)
    for interaction in model.model.three_body_interactions:
        assert not isinstance(interaction.update_network_atom, torch.nn.Identity)
        assert not hasattr(interaction, "end_atom_network")


REFUSED: dict[str, dict[str, Any]] = {
    "is_intensive=True": {"is_intensive": True},
    "include_state=True": {"include_state": True, "dim_state_feats": 2, "dim_state_embedding": 2},
    "ntargets=2": {"ntargets": 2},
    "threebody_cutoff=0.0": {"threebody_cutoff": 0.0},
}


@pytest.mark.parametrize(("message", "changes"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_distributed_is_refused_by_name(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        DistCalculator(build_m3gnet(**changes))
