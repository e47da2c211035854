"""The undivided originals with gradients: what training over partitions is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ase import Atoms
from ase.units import GPa
from torch import Tensor, nn

from distmlip import DistModel, Prediction
from distmlip.models import adapter_for

TrainableOriginal = tuple[nn.Module, Callable[[Atoms], Prediction]]
"""An independent copy of the model in float64 whose parameters all want gradients, and what it predicts."""


def trainable_original(model: nn.Module, **options: Any) -> TrainableOriginal:
    """The model's own forward, forces and stress as its package takes them for training."""
    adapter = adapter_for(model, torch.float64, **options)
    calculator: Any = adapter.original(torch.float64)
    predictors = {"CHGNet": _chgnet, "MACE": _mace, "matgl": _matgl, "SevenNet": _sevennet}
    predictors |= dict.fromkeys(("NequIP", "Allegro"), _nequip) | {"Orb": _orb, "MatterSim": _mattersim}
    return predictors[adapter.family](calculator)


def _chgnet(calculator: Any) -> TrainableOriginal:
    from pymatgen.io.ase import AseAtomsAdaptor

    model = calculator.model.requires_grad_()

    def predict(atoms: Atoms) -> Prediction:
        graph = model.graph_converter(AseAtomsAdaptor.get_structure(atoms))
        out = model([graph], task="efs")
        # The model scales dE/dstrain to GPa with a factor that it rounds to float32.
        volume = torch.tensor([atoms.cell.volume], dtype=torch.float64)
        gigapascal = (1 / volume.float() * 160.21766208) * volume
        n_atoms = len(atoms) if model.is_intensive else 1
        return Prediction(out["e"][0] * n_atoms, out["f"][0], out["s"][0] / gigapascal)

    return model, predict


def _mace(calculator: Any) -> TrainableOriginal:
    model = calculator.models[0].requires_grad_()

    def predict(atoms: Atoms) -> Prediction:
        out = model(calculator._atoms_to_batch(atoms).to_dict(), training=True, compute_stress=True)
        return Prediction(out["energy"][0], out["forces"], out["stress"][0])

    return model, predict


def _matgl(calculator: Any) -> TrainableOriginal:
    model = calculator.potential.requires_grad_().train()  # else it cuts the graph behind forces
    kept = _outputs_of(model)

    def predict(atoms: Atoms) -> Prediction:
        calculator.calculate(atoms)
        energy, forces, stress, *_ = kept.pop()
        return Prediction(energy.reshape(()), forces, stress * calculator.conversion_factor)

    return model, predict


def _sevennet(calculator: Any) -> TrainableOriginal:
    from sevenn import _keys as keys

    model = calculator.model.requires_grad_().train()  # else it cuts the graph behind forces
    kept = _outputs_of(model)

    def predict(atoms: Atoms) -> Prediction:
        calculator.calculate(atoms)
        output = kept.pop()
        # Its own stress is minus ASE's, in the order xx, yy, zz, xy, yz, zx.
        xx, yy, zz, xy, yz, zx = -output[keys.PRED_STRESS].reshape(6)
        stress = torch.stack([xx, xy, zx, xy, yy, yz, zx, yz, zz]).view(3, 3)
        return Prediction(output[keys.PRED_TOTAL_ENERGY].reshape(()), output[keys.PRED_FORCE], stress)

    return model, predict


def _nequip(calculator: Any) -> TrainableOriginal:
    from nequip.data import AtomicDataDict

    model = calculator.model.requires_grad_().train()  # else it cuts the graph behind forces

    def predict(atoms: Atoms) -> Prediction:
        output = model(calculator.atoms_to_data(atoms))
        energy, stress = (
            output[AtomicDataDict.TOTAL_ENERGY_KEY].reshape(()),
            output[AtomicDataDict.STRESS_KEY].view(3, 3),
        )
        return Prediction(energy, output[AtomicDataDict.FORCE_KEY], stress)

    return model, predict


def _mattersim(calculator: Any) -> TrainableOriginal:
    model = calculator.potential.model.requires_grad_().train()  # else it cuts the graph behind forces
    kept = _outputs_of(calculator.potential)

    def predict(atoms: Atoms) -> Prediction:
        calculator.calculate(atoms)
        output = kept.pop()
        return Prediction(output["total_energy"].reshape(()), output["forces"], output["stresses"][0] * GPa)

    return model, predict


def _orb(calculator: Any) -> TrainableOriginal:
    model = calculator.model.requires_grad_().train()  # else it cuts the graph behind forces
    for head in model.heads.values():
        if hasattr(head, "normalizer"):
            head.normalizer.online = False
    kept = _outputs_of(model)

    def predict(atoms: Atoms) -> Prediction:
        calculator.calculate(atoms)
        output = kept.pop()
        energy = model.heads["energy"].normalizer.inverse(output["energy"])
        xx, yy, zz, yz, zx, xy = output["grad_stress"][0]
        stress = torch.stack([xx, xy, zx, xy, yy, yz, zx, yz, zz]).view(3, 3)
        return Prediction(_orb_energy(model.heads["energy"], energy, atoms), output["grad_forces"], stress)

    return model, predict


def _orb_energy(head: Any, energy: Tensor, atoms: Atoms) -> Tensor:
    """From that of an atom in the mean, without what isolated atoms have."""
    numbers = torch.from_numpy(atoms.numbers)
    return energy.reshape(()) * len(atoms) + head.reference(numbers, torch.tensor([len(atoms)])).reshape(())


def _outputs_of(model: nn.Module) -> list[Any]:
    """A list that gets every output of the model: calculators detach what they return."""
    kept: list[Any] = []
    model.register_forward_hook(lambda _model, _inputs, output: kept.append(output))
    return kept


def loss_of(prediction: Prediction) -> Tensor:
    """A loss in which energy, each component of a force and each of the stress has a weight of its own."""
    generator = torch.Generator().manual_seed(1)
    loss = torch.zeros((), dtype=torch.float64)
    for predicted, weight in zip(prediction, (1.0, 1.0, 1e3), strict=True):
        if predicted is not None:
            target = torch.randn(predicted.shape, generator=generator, dtype=torch.float64)
            loss = (
                loss + weight * (predicted.double() / len(prediction.forces) ** 0.5 - target).square().sum()
            )
    return loss


def gradients_of(model: nn.Module, predict: Callable[[Atoms], Prediction], atoms: Atoms) -> dict[str, Tensor]:
    """Of the loss, by the name of the parameter."""
    model.zero_grad()
    loss_of(predict(atoms)).backward()
    gradients = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }
    model.zero_grad()
    return gradients


def largest_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Of all parameters: the norm of the difference over the norm of the gradient, or over a thousandth of
    the largest of these norms, if that is more."""
    assert ours.keys() == theirs.keys()
    floor = 1e-3 * max(float(gradient.norm()) for gradient in theirs.values())
    assert floor > 0
    return max(
        float((ours[name] - theirs[name]).norm()) / max(float(theirs[name].norm()), floor) for name in theirs
    )


def training_difference(model: nn.Module, atoms: Atoms, partitions: int, **options: Any) -> float:
    """Of the parameter gradients of a loss over partitions and of the undivided model. The model is changed:
    all its parameters will want gradients."""
    model.requires_grad_()
    distributed = DistModel(model, partitions=partitions, **options)
    family_options = {name: value for name, value in options.items() if name not in ("devices", "method")}
    original, predict = trainable_original(model, **family_options)
    ours = {
        name.removeprefix("model."): x for name, x in gradients_of(distributed, distributed, atoms).items()
    }
    return largest_difference(ours, gradients_of(original, predict, atoms))
