"""What a step computes and sends with more and more recursions, beside the usual scheme of larger halos.

    cd examples && python -m reann.scaling --atoms 4000 --partitions 8

Without exchanges between recursions a partition has to compute all that its atoms' energies depend on: shells
of neighbours of neighbours, one more for every recursion, and so atoms of others again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from distmlip import DistCalculator, partition
from reann.adapter import REANNAdapter
from reann.model import REANN


@dataclass(frozen=True)
class Step:
    """Of all partitions together."""

    recursions: int
    edges: int
    """Edges whose messages are computed, in all recursions."""
    atoms: int
    """Atoms whose densities are computed, in all recursions."""
    exchanged: int
    """Bytes of one forward sweep."""
    edges_of_larger_halos: int
    """Edges without exchanges."""


def step(atoms: Atoms, recursions: int, partitions: int) -> Step:
    """Of a model with so many recursions."""
    torch.manual_seed(0)
    adapter = REANNAdapter(REANN(sorted(set(atoms.numbers.tolist())), n_recursions=recursions))
    calculator = DistCalculator(adapter, partitions=partitions)
    calculator.calculate(atoms)
    rows = [calculator.counters[f"recursion {k}"] for k in range(recursions + 1)]
    plan = calculator.plan(atoms)
    return Step(
        recursions,
        sum(of["edges"] for of in rows),
        sum(of["atoms"] for of in rows),
        sum(sum(exchange.n_bytes) for exchange in plan.exchanges),
        larger_halos(atoms, adapter.cutoff, recursions, partitions),
    )


def larger_halos(atoms: Atoms, cutoff: float, recursions: int, partitions: int) -> int:
    """Edges that the same partitions compute if each computes all that its own energies depend on."""
    receivers, senders = neighbor_list("ij", atoms, cutoff)
    owner = partition(atoms, cutoff, partitions).owner
    total = 0
    for p in range(partitions):
        needed = owner == p
        for _ in range(recursions + 1):
            of_needed = needed[receivers]
            total += int(of_needed.sum())
            needed[senders[of_needed]] = True
    return total


def draw(steps: list[Step], path: Path, title: str) -> None:
    """Work and communication by recursions."""
    figure, (work, sent) = plt.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained")
    x = [of.recursions for of in steps]
    work.plot(x, [of.edges_of_larger_halos / 1e6 for of in steps], "s--", color="0.5", label="larger halos")
    work.plot(x, [of.edges / 1e6 for of in steps], "o-", label="exchanges: each atom once")
    work.set(xlabel="recursions", ylabel="million edges computed", ylim=0)
    work.legend()
    sent.plot(x, [of.exchanged / 1e6 for of in steps], "o-")
    sent.set(xlabel="recursions", ylabel="MB exchanged (forward)", ylim=0)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--atoms", type=int, default=4000, help="about")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--most", type=int, default=5, help="recursions")
    parser.add_argument("--output", type=Path, default=Path("scaling.png"))
    arguments = parser.parse_args()
    n = max(2, round((arguments.atoms / 4) ** (1 / 3)))
    atoms = bulk("Cu", cubic=True) * (n, n, n)
    atoms.rattle(0.05, rng=np.random.default_rng(0))
    steps = [step(atoms, k, arguments.partitions) for k in range(arguments.most + 1)]
    print("recursions  edges computed  atoms computed  MB exchanged  edges with larger halos")
    for of in steps:
        factor = of.edges_of_larger_halos / of.edges
        print(
            f"{of.recursions:10} {of.edges:15,} {of.atoms:15,} {of.exchanged / 1e6:13.2f} "
            f"{of.edges_of_larger_halos:15,} ({factor:.1f} x)"
        )
    draw(steps, arguments.output, f"REANN, {len(atoms):,} atoms of Cu over {arguments.partitions} partitions")
    print(f"picture: {arguments.output}")


if __name__ == "__main__":
    main()
