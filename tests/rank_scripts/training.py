"""Every rank: gradients of the parameters of a model that all ranks train, against the undivided model's."""

from __future__ import annotations

import copy
import gc
import os
import sys
from typing import Any

import torch
from ase import Atoms
from ase.build import bulk
from support import structures, toy
from support.launching import PASSED
from support.originals import largest_difference, loss_of, training_difference

from distmlip import DistModel
from distmlip.training.ranks import RankCrossing

PARITY = 1e-9


def chgnet() -> Any:
    from support.chgnet_models import narrow

    return copy.deepcopy(narrow("plain")).double().eval()


def mace() -> Any:
    from support.mace_models import narrow

    return narrow()


def matgl_chgnet() -> Any:
    from support.matgl_threebody_models import chgnet

    return copy.deepcopy(chgnet("plain"))


FAMILIES = {"chgnet": chgnet, "mace": mace, "matgl_chgnet": matgl_chgnet}


def check_toy(n_ranks: int) -> None:
    """All four exchanges; with a structure of which most ranks own nothing; losses of some results only."""
    losses = {
        "all": loss_of,
        "energy": lambda prediction: prediction.energy**2,
        "forces": lambda prediction: prediction.forces.square().sum(),
        "stress": lambda prediction: prediction.stress.square().sum(),
    }
    two = bulk("Cu") * (2, 1, 1)
    for atoms in (structures.oxide().atoms, shaken(two, 0)):
        for name, loss in losses.items():
            gradients = {}
            for ranks in ("auto", False):
                model = DistModel(
                    toy.ToyAdapter([toy.ToyModel()]), partitions=n_ranks + 1, devices="cpu", ranks=ranks
                )
                loss(model(atoms)).backward()
                gradients[ranks] = {name: parameter.grad for name, parameter in model.named_parameters()}
            found = largest_difference(gradients["auto"], gradients[False])
            assert found <= PARITY, f"{name}, {atoms}: {found}"


def check_several_structures(n_ranks: int) -> None:
    """In one loss: the second may use the graph of the first again, whose bonds are others, though."""
    gradients = {}
    for ranks in ("auto", False):
        model = DistModel(
            toy.ToyAdapter([toy.ToyModel()]), partitions=n_ranks + 1, devices="cpu", ranks=ranks
        )
        atoms = structures.oxide().atoms
        predictions = [model(atoms)]
        for stretch in (1.02, 1.04):
            atoms.set_cell(stretch * structures.oxide().atoms.cell, scale_atoms=True)
            predictions.append(model(atoms))
        predictions.append(model(shaken(bulk("Cu") * (2, 1, 1), 0)))
        with torch.no_grad():
            model(structures.oxide().atoms)
        sum(map(loss_of, predictions[1:]), loss_of(predictions[0])).backward()
        gradients[ranks] = {name: parameter.grad for name, parameter in model.named_parameters()}
        if os.environ["RANK"] == "0":
            copy.deepcopy(model)  # is no work for all
    assert largest_difference(gradients["auto"], gradients[False]) <= PARITY


def check_training(rank: int, n_ranks: int) -> None:
    """Ranks begin with rank 0's parameters, and stay together."""
    torch.manual_seed(rank)
    model = toy.ToyModel(seed=rank)
    distributed = DistModel(toy.ToyAdapter([model]), partitions=n_ranks, devices="cpu")
    optimiser = torch.optim.Adam(distributed.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        atoms = shaken(structures.oxide().atoms, 0)
        optimiser.zero_grad()
        loss = loss_of(distributed(atoms))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    expected = toy.ToyModel(seed=0)
    alone = DistModel(toy.ToyAdapter([expected]), partitions=1, devices="cpu", ranks=False)
    optimiser = torch.optim.Adam(alone.parameters(), lr=1e-2)
    for _ in range(6):
        optimiser.zero_grad()
        loss_of(alone(shaken(structures.oxide().atoms, 0))).backward()
        optimiser.step()
    for mine, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)
    with torch.no_grad():
        assert not distributed(atoms).forces.requires_grad


def shaken(atoms: Atoms, seed: int) -> Atoms:
    atoms.rattle(0.05, seed=seed)
    return atoms


def main() -> None:
    rank, n_ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    family = sys.argv[1]
    if family == "toy":
        check_toy(n_ranks)
        check_several_structures(n_ranks)
        check_training(rank, n_ranks)
        gc.collect()
        assert not any(isinstance(one, RankCrossing) for one in gc.get_objects()), "graphs are never freed"
    else:
        found = training_difference(
            FAMILIES[family](), structures.oxide().atoms, partitions=n_ranks + 1, devices="cpu"
        )
        assert found <= PARITY, found
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
