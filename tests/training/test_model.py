"""Training over partitions: gradients of a loss of energy, forces and stress are the undivided model's."""

from __future__ import annotations

import copy
import functools
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from support import chgnet_models, mace_models, matgl_models, matgl_threebody_models, structures, toy
from support.originals import (
    gradients_of,
    largest_difference,
    loss_of,
    trainable_original,
    training_difference,
)
from support.torch_globals import MODES, modes
from torch import nn

from distmlip import DistCalculator, DistModel
from distmlip.errors import InvalidInputError, UnsupportedElementError, UnsupportedModelError
from distmlip.models.interface import EagerStage
from distmlip.training import model as training

PARITY = 1e-9
"""Of parameter gradients, relative, in float64."""

CHGNET = [
    "plain",
    "biased_and_normed",
    "without_bond_update",
    "without_gate_norm",
    "extensive",
    "gated_readout",
]
MACE = [mace_models.RESIDUAL, mace_models.NON_LINEAR, "zbl_and_agnesi", "two_heads", "rotations_only"]
AWKWARD = ["thin_in_one_direction", "thin_in_all_directions", "without_angles"]


def chgnet(kind: str = "plain") -> Any:
    return copy.deepcopy(chgnet_models.narrow(kind)).double().eval()


@functools.cache
def mace(kind: str = mace_models.RESIDUAL) -> Any:
    """One that no test changes."""
    return mace_models.build_narrow(kind)


def small() -> Atoms:
    return structures.oxide().atoms


@pytest.mark.parametrize("partitions", [1, 2, 4])
def test_chgnet(partitions: int) -> None:
    assert training_difference(chgnet(), small(), partitions) <= PARITY


@pytest.mark.parametrize("partitions", [1, 2, 4])
def test_mace(partitions: int) -> None:
    assert training_difference(mace(), small(), partitions) <= PARITY


@pytest.mark.parametrize("structure", AWKWARD)
@pytest.mark.parametrize("build", [chgnet, mace])
def test_awkward_systems(build: Any, structure: str) -> None:
    """A cell thinner than the cutoff, two atoms in four partitions (two of which are empty), no angles."""
    atoms = structures.STRUCTURES[structure]().atoms
    assert training_difference(build(), atoms, partitions=4) <= PARITY


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHGNET)
def test_chgnet_of_every_kind(kind: str) -> None:
    assert training_difference(chgnet(kind), small(), partitions=3) <= PARITY


@pytest.mark.slow
@pytest.mark.parametrize("kind", MACE)
def test_mace_of_every_kind(kind: str) -> None:
    options = mace_models.OPTIONS.get(kind, {})
    assert training_difference(mace(kind), small(), partitions=3, **options) <= PARITY


@pytest.mark.parametrize("kind", ["torch", pytest.param("warp", marks=pytest.mark.slow)])
def test_tensornet(kind: str) -> None:
    model = copy.deepcopy(matgl_models.tensornet(kind))
    assert training_difference(model, small(), partitions=3) <= PARITY


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        lambda: matgl_models.tensornet("so3"),
        lambda: matgl_models.qet("torch"),
        lambda: matgl_models.qet("hardness_of_environments"),
        lambda: matgl_threebody_models.m3gnet("plain"),
        lambda: matgl_threebody_models.chgnet("plain"),
    ],
)
def test_other_networks_of_matgl(build: Any) -> None:
    assert training_difference(copy.deepcopy(build()), small(), partitions=3) <= PARITY


@pytest.mark.slow
def test_published_chgnet() -> None:
    model = copy.deepcopy(chgnet_models.published("0.3.0")).double().eval()
    assert training_difference(model, small(), partitions=4) <= PARITY


def test_several_devices_share_the_parameters() -> None:
    assert training_difference(chgnet(), small(), partitions=4, devices=["cpu", "cpu"]) <= PARITY


@pytest.mark.parametrize("structure", ["slab", "molecule", "two_far_apart_molecules", "one_atom"])
def test_prediction_is_the_calculators(structure: str) -> None:
    atoms = structures.STRUCTURES[structure]().atoms
    model = mace()
    energy, forces, stress = DistModel(model, partitions=2)(atoms)
    atoms.calc = DistCalculator(model, partitions=2)
    assert energy.item() == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(forces.detach(), atoms.get_forces(), atol=1e-12)
    if atoms.cell.volume == 0:
        assert stress is None
    else:
        np.testing.assert_allclose(stress.detach(), atoms.get_stress(voigt=False), atol=1e-14)


class TestToy:
    """All four exchanges, and an adapter whose stages run the user's own object."""

    def gradients(self, partitions: int) -> dict[str, torch.Tensor]:
        model = DistModel(toy.ToyAdapter([toy.ToyModel()]), partitions=partitions)
        return gradients_of(model, model, small())

    def test_partitions_change_no_gradient(self) -> None:
        whole = self.gradients(1)
        for partitions in (2, 5, 60):
            assert largest_difference(self.gradients(partitions), whole) <= PARITY

    def test_gradients_are_differences(self) -> None:
        model = toy.ToyModel()
        predict = DistModel(toy.ToyAdapter([model]), partitions=3)
        gradients = gradients_of(predict, predict, small())
        direction = {name: torch.randn_like(x) for name, x in model.named_parameters()}
        expected = sum((gradients[f"model.{name}"] * x).sum() for name, x in direction.items())
        step, losses = 1e-6, []
        for sign in (1, -2):
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.add_(direction[name], alpha=sign * step)
                losses.append(loss_of(predict(small())).item())
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(float(expected), rel=1e-6)


def test_gradients_reach_the_users_object_and_only_what_wants_them() -> None:
    model = chgnet()
    everything = gradients_of(model, DistModel(model, partitions=2), small())
    frozen = "atom_embedding.embedding.weight"
    model.get_parameter(frozen).requires_grad_(False)
    distributed = DistModel(model, partitions=2)
    gradients = gradients_of(model, distributed, small())
    assert everything[frozen].any()
    assert not gradients.pop(frozen).any()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, everything[name])
    assert {id(parameter) for parameter in distributed.parameters()} == {id(x) for x in model.parameters()}


def test_calls_are_independent_graphs() -> None:
    """Several structures in one loss, one of them twice; and one after another without a step between."""
    model = chgnet()
    distributed = DistModel(model, partitions=2)
    structure, other = small(), structures.triclinic().atoms
    one, two = (gradients_of(model, distributed, atoms) for atoms in (structure, other))
    sum(loss_of(distributed(atoms)) for atoms in (structure, structure, other)).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, 2 * one[name] + two[name])


def test_training_lowers_the_loss_and_changes_the_users_model() -> None:
    model, atoms = chgnet(), small()
    distributed = DistModel(model, partitions=4)
    target = torch.zeros(len(atoms), 3, dtype=torch.float64)
    optimiser = torch.optim.Adam(distributed.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(distributed(atoms).forces, target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    atoms.calc = DistCalculator(model, partitions=3)
    np.testing.assert_allclose(distributed(atoms).forces.detach(), atoms.get_forces(), atol=1e-10)


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
def test_without_gradients(switch: Any) -> None:
    distributed = DistModel(chgnet(), partitions=2)
    expected = distributed(small())
    with switch():
        prediction = distributed(small())
    for ours, theirs in zip(prediction, expected, strict=True):
        assert theirs.requires_grad
        assert not ours.requires_grad
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["autocast", "device_context", "default_device"])
def test_the_callers_modes_play_no_role(mode: str) -> None:
    model = chgnet().requires_grad_()
    exact = gradients_of(*trainable_original(model), small())
    distributed = DistModel(model, partitions=2)
    expected = distributed(small())
    with MODES[mode]():
        before = modes()
        within = DistModel(model, partitions=2)
        predictions = within(small()), distributed(small())
        assert modes() == before
    for prediction in predictions:
        for ours, theirs in zip(prediction, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert largest_difference(gradients_of(model, lambda _: predictions[0], small()), exact) < 1e-9


def test_other_dtype_than_the_models() -> None:
    """Float32 parameters trained in float64."""
    model = copy.deepcopy(chgnet_models.narrow("plain")).eval().requires_grad_()
    exact = gradients_of(*trainable_original(model), small())
    ours = gradients_of(model, DistModel(model, partitions=2, dtype="float64"), small())
    assert {x.dtype for x in ours.values()} == {torch.float32}
    assert largest_difference({name: x.double() for name, x in ours.items()}, exact) < 1e-6


def test_adapter_of_another_dtype_than_its_parameters() -> None:
    gradients = {}
    for dtype in (torch.float32, torch.float64):
        distributed = DistModel(toy.ToyAdapter([toy.ToyModel()], dtype), partitions=2)
        gradients[dtype] = gradients_of(distributed, distributed, small())
    assert {gradient.dtype for gradient in gradients[torch.float32].values()} == {torch.float64}
    difference = largest_difference(*gradients.values())
    assert 1e-12 < difference < 1e-4


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_have_parameters_of_their_own(duplicate: Any) -> None:
    first = DistModel(chgnet(), partitions=2)
    second = duplicate(first)
    torch.testing.assert_close(second(small()).forces, first(small()).forces)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(0.5)
    assert not torch.allclose(second(small()).forces, first(small()).forces)
    assert first.state_dict().keys() == second.state_dict().keys()


class TestRefusals:
    def test_committee(self) -> None:
        with pytest.raises(UnsupportedModelError, match=r"toy model cannot be trained .* committee of 2"):
            DistModel(toy.ToyAdapter([toy.ToyModel(), toy.ToyModel(1)]))

    def test_forces_that_are_an_output(self) -> None:
        adapter = toy.ToyAdapter([toy.ToyModel()])
        adapter.conservative = False
        with pytest.raises(UnsupportedModelError, match="no derivative of its energy"):
            DistModel(adapter)

    def test_reason_of_the_adapter(self) -> None:
        adapter = toy.ToyAdapter([toy.ToyModel()])
        adapter.untrainable = "its weights are stone"
        with pytest.raises(
            UnsupportedModelError, match=r"toy model cannot be trained .*: its weights are stone"
        ):
            DistModel(adapter)

    def test_stage_with_a_pullback_of_its_own(self) -> None:
        class Own:
            def __init__(self, stage: EagerStage) -> None:
                self.__dict__.update(vars(stage))

        class WithOwn(toy.ToyAdapter):
            def stages(self, module: nn.Module, recompute: bool) -> Any:
                first, *rest = super().stages(module, recompute)
                return [Own(first), *rest]

        with pytest.raises(UnsupportedModelError, match="stage 'first layer' is a Own and no EagerStage"):
            DistModel(WithOwn([toy.ToyModel()]))

    def test_copies_that_gradients_do_not_leave(self) -> None:
        class Copying(toy.ToyAdapter):
            def replicate(self, index: int, device: torch.device) -> nn.Module:
                return copy.deepcopy(self.models[index])

        with pytest.raises(UnsupportedModelError, match="without gradients would be embedding, mix, readout"):
            DistModel(Copying([toy.ToyModel()]))

    @pytest.mark.parametrize("part", [nn.Dropout(0.1), nn.BatchNorm1d(3)])
    def test_parts_that_behave_otherwise_in_training_mode(self, part: nn.Module) -> None:
        model = toy.ToyModel()
        model.part = copy.deepcopy(part).double().train()
        distributed = DistModel(toy.ToyAdapter([model]))
        with pytest.raises(
            UnsupportedModelError, match=f"part of the model is a {type(part).__name__} in tr"
        ):
            distributed(small())
        model.eval()
        assert torch.isfinite(distributed(small()).energy)

    def test_driver_mode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There the other ranks would wait for a backward that nobody asks them for."""
        monkeypatch.setattr(training, "ranks_of_this_run", object)
        monkeypatch.setattr(training.Driver, "active", object())
        with pytest.raises(InvalidInputError, match="start it with torchrun"):
            DistModel(chgnet())
        assert torch.isfinite(DistModel(chgnet(), ranks=False)(small()).energy)

    def test_structures(self) -> None:
        distributed = DistModel(chgnet(), on_isolated_atoms="error")
        with pytest.raises(InvalidInputError, match="no atoms"):
            distributed(Atoms())
        with pytest.raises(UnsupportedElementError, match="Lr"):
            distributed(Atoms("Lr", positions=[[0, 0, 0]]))
        with pytest.raises(InvalidInputError, match="1 atoms have no neighbour"):
            distributed(structures.one_atom().atoms)

    def test_options(self) -> None:
        with pytest.raises(InvalidInputError, match="partitions=0"):
            DistModel(chgnet(), partitions=0)
        with pytest.raises(InvalidInputError, match="unknown"):
            DistModel(chgnet(), colour="green")
