"""TorchSim runs on models over partitions; with its newest release `make test-torchsim` runs the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch_sim as ts
from ase import Atoms
from ase.build import bulk, molecule
from support.structures import rattled
from support.toy import ToyAdapter, ToyModel
from torch_sim.models.interface import validate_model_outputs

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError
from distmlip.torchsim import TorchSimModel, systems_of

CPU = torch.device("cpu")


class ForcesOfTheirOwn(ToyAdapter):
    conservative = False
    implemented_properties = ("energy", "free_energy", "energies", "forces")


def toy() -> ToyAdapter:
    return ToyAdapter([ToyModel()])


def copper() -> Atoms:
    return rattled(bulk("Cu", cubic=True) * (2, 2, 2), 0.1)


def skewed() -> Atoms:
    """None of whose lattice vectors is an axis, nor is its cell symmetric."""
    atoms = rattled(bulk("Mg", "hcp", a=3.21, c=5.21) * (2, 2, 1), 0.1)
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0.2], [0.05, 1, -0.1], [0, 0.15, 1.1]], scale_atoms=True)
    return atoms


def state_of(*systems: Atoms, dtype: torch.dtype = torch.float64) -> Any:
    return ts.io.atoms_to_state(list(systems), CPU, dtype)


def total_energy(state: Any) -> torch.Tensor:
    return state.energy + ts.calc_kinetic_energy(masses=state.masses, momenta=state.momenta)


def outputs_of(atoms: Atoms, **options: Any) -> dict[str, np.ndarray]:
    """As ASE's calculator gives them."""
    calculator = DistCalculator(toy(), devices="cpu", **options)
    calculator.calculate(atoms, ["energy", "forces", "stress"])
    xx, yy, zz, yz, xz, xy = calculator.results["stress"]
    return {
        "energy": np.array([calculator.results["energy"]]),
        "forces": calculator.results["forces"],
        "stress": np.array([[[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]]),
        "energies": calculator.results["energies"],
    }


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].dtype == torch.float64
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("partitions", [1, 3])
def test_torchsims_own_check(dtype: torch.dtype, partitions: int) -> None:
    validate_model_outputs(TorchSimModel(toy(), devices="cpu", partitions=partitions), CPU, dtype)


@pytest.mark.parametrize("atoms", [copper(), skewed()], ids=["cubic", "triclinic"])
def test_a_system_has_the_results_that_it_has_in_ase(atoms: Atoms) -> None:
    assert_same(
        TorchSimModel(toy(), devices="cpu", partitions=3)(state_of(atoms)), outputs_of(atoms, partitions=3)
    )


def test_systems_of_a_batch_have_the_results_that_they_have_alone() -> None:
    model = TorchSimModel(toy(), devices="cpu")
    alone = [outputs_of(atoms) for atoms in (copper(), skewed(), copper())]
    joined = {name: np.concatenate([of[name] for of in alone]) for name in alone[0]}
    assert_same(model(state_of(copper(), skewed(), copper())), joined)
    assert_same(model(state_of(skewed())), alone[1])


def test_a_molecule_has_no_stress() -> None:
    water = molecule("H2O")
    outputs = TorchSimModel(toy(), devices="cpu")(state_of(water))
    assert outputs["stress"].shape == (1, 3, 3)
    assert outputs["stress"].isnan().all()
    calculator = DistCalculator(toy(), devices="cpu")
    calculator.calculate(water)
    np.testing.assert_allclose(outputs["forces"], calculator.results["forces"], atol=1e-12)


def test_what_is_not_asked_for_is_left_out() -> None:
    model = TorchSimModel(toy(), devices="cpu")
    assert (model.device, model.dtype) == (CPU, torch.float64)
    model.compute_stress = model.compute_forces = False
    assert set(model(state_of(copper()))) == {"energy", "energies"}


def test_forces_that_are_no_derivatives_have_no_stress() -> None:
    model = TorchSimModel(ForcesOfTheirOwn([ToyModel()]), devices="cpu")
    assert not model.compute_stress
    with pytest.raises(NotImplementedError, match="no derivatives of its energy"):
        model.compute_stress = True


def test_an_error_says_which_system_it_is_of() -> None:
    state = state_of(copper(), skewed())
    state.positions[-1, 0] = np.nan
    with pytest.raises(InvalidInputError) as caught:
        TorchSimModel(toy(), devices="cpu")(state)
    assert caught.value.__notes__ == ["computing system 1 of 2 of a TorchSim state"]


def test_charge_and_spin_are_what_ase_calls_them() -> None:
    water = state_of(molecule("H2O"), molecule("H2O"))
    names = ("positions", "atomic_numbers", "system_idx", "cell", "pbc")
    extras = {"charge": torch.tensor([1.0, -1.0]), "spin": torch.tensor([2.0, 0.5])}
    state = SimpleNamespace(**{name: getattr(water, name) for name in names}, **extras)
    assert [atoms.info for atoms in systems_of(state)] == [  # type: ignore[arg-type]
        {"charge": 1, "spin": 2},
        {"charge": -1, "spin": 0.5},
    ]


def test_dynamics_conserve_energy_and_are_written(tmp_path: Path) -> None:
    model = TorchSimModel(toy(), devices="cpu", partitions=2)
    path = str(tmp_path / "run.h5")
    properties = {"potential": lambda state: state.energy, "total": total_energy}
    reporter = {"filenames": path, "state_frequency": 5, "prop_calculators": {1: properties}}
    start = state_of(copper())
    final = ts.integrate(
        system=start,
        model=model,
        integrator=ts.Integrator.nve if hasattr(ts, "Integrator") else ts.nve,
        n_steps=40,
        temperature=300.0,
        timestep=1e-4,
        trajectory_reporter=reporter,
    )
    with ts.TorchSimTrajectory(path, mode="r") as trajectory:
        potential, total = (np.ravel(trajectory.get_array(name)) for name in properties)
        np.testing.assert_allclose(trajectory.get_array("positions")[-1], final.positions, atol=1e-6)
    assert len(total) in (40, 41)  # of newer releases with the start
    assert np.ptp(total) < 0.01 * np.ptp(potential)
