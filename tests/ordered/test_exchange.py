"""What crosses devices: the same as within one, in order, and no copy waits for another one."""

from __future__ import annotations

import pytest
import torch
from ase.build import bulk
from ordered.device import core as device
from ordered.device import watched
from torch import Tensor

from distmlip._native import core
from distmlip.models.interface import Add, AllSum, Halo, Swap

EXCHANGES = [
    Halo("atoms", (4,)),
    Halo("scalars", ()),
    Add("bonds", (2,)),
    Swap("cut", (3,)),
    AllSum("sum", (5,)),
]
N_PARTITIONS = 6


def step_on(devices: list[str]) -> core.Step:
    """Neighbouring partitions on neighbouring devices."""
    atoms = bulk("Cu", cubic=True) * (6, 2, 2)
    atoms.rattle(0.1, seed=1)
    cut = core.Decomposition(
        atoms.positions, atoms.cell.array, atoms.pbc, 4.0, N_PARTITIONS, bond_cutoff=3.0, method="bisection"
    )
    of_partitions = [torch.device(devices[p * len(devices) // N_PARTITIONS]) for p in range(N_PARTITIONS)]
    step = core.Step(cut, of_partitions, torch.float64)
    step.update(atoms.positions, atoms.cell.array)
    return step


def rows(step: core.Step, adjoint: bool) -> list[list[Tensor]]:
    """Of each exchange and partition, on the device of the partition."""
    generator = torch.Generator().manual_seed(0)
    halo = [len(atoms) - n if adjoint else 0 for atoms, n in zip(step.local_atoms, step.n_owned, strict=True)]
    with_halo = [n + k for n, k in zip(step.n_owned, halo, strict=True)]
    sizes = [with_halo, with_halo, step.n_bonds, step.n_cut, None]
    return [
        [
            torch.randn(
                *([] if counts is None else [counts[p]]),
                *exchange.width,
                generator=generator,
                dtype=torch.float64,
            ).to(atoms.device)
            for p, atoms in enumerate(step.local_atoms)
        ]
        for exchange, counts in zip(EXCHANGES, sizes, strict=True)
    ]


def crossed(devices: list[str], adjoint: bool) -> list[list[Tensor]]:
    step = step_on(devices)
    given = rows(step, adjoint)
    device.take_counts()
    return core.Crossing(step).cross(EXCHANGES, given, adjoint=adjoint)


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize(
    "devices",
    [
        ["ordered:0"],
        ["ordered:0", "ordered:1"],
        [f"ordered:{k}" for k in range(4)],
        ["ordered:2", "cpu", "ordered:3"],
    ],
    ids=",".join,
)
def test_the_same_as_within_one_device(devices: list[str], adjoint: bool) -> None:
    with watched() as found:
        seen = crossed(devices, adjoint)
        *_, longest_chain = device.take_counts()
        values = [[tensor.cpu() for tensor in tensors] for tensors in seen]
    assert not found
    assert longest_chain == (len([name for name in devices if name != "cpu"]) > 1)
    torch.testing.assert_close(values, crossed(["cpu"], adjoint), rtol=0, atol=1e-12)
