"""Neighbour lists, and graphs in partitions, beside other packages': time and memory, halo and balance.

    python benchmarks/bench_graphs.py neighbors     about 15 minutes on 2 cores; with --quick one minute
    python benchmarks/bench_graphs.py partition     about 6 minutes on 2 cores; with --quick one minute

Contests, in turns (harness.py). Of neighbour lists on each structure: "edges": who is whose neighbour in
which image, in each package's own compact form; for distmlip that is the graph of one partition, as its
calculator uses it. "arrays": neighbor_list("ijSD"), new NumPy arrays sorted by i. "boundaries": a slab under
vacuum whose third axis is open or periodic. A package that would need more than 10 s a turn, judged by the
next smaller size, does not take part; 10^6 atoms are for distmlip and vesin only, except in fcc Cu with the
first cutoff; and so are two threads, which the others do not use.

Of partitions: "graph": 8 of them with their halo and send lists, beside vesin's undivided list as the
yardstick. "angles": the same with bonds and angles within 3 Å, the step graph of one partition after another.
"chgnet": the graph that chgnet's fast converter makes. "cut": water over more and more partitions, beside
METIS, which is given the finished graph (its time has only the cut, distmlip's all of the graphs) and the
number of edges as the weight of each atom. "gpu": the neighbour lists of distmlip and nvalchemi-toolkit-ops
on the same GPU. "largest": a graph that is built once, for its memory.

Writes benchmarks/results/neighbors.json or partition.json, unless --quick, and prints it as tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import candidates
import numpy as np
import result_tables
import torch
from ase import Atoms
from candidates import ENTRANTS, entrant
from harness import PACKAGES, RESULTS, Arena, Candidate, Facts, Prepare, command_line, record, seconds
from result_tables import FASTEST, METHODS
from structures import SYSTEMS, copper, lithium_manganese_oxide, shuffled_copper, slab, water

from distmlip import neighbor_list
from distmlip._native import core

KINDS = ["graphs", "largest", "chgnet", "cuts", "gpu"]
SIZES = [10**4, 10**5, 10**6]
DEFAULTS: dict[str, Facts] = {
    "neighbors": dict(systems=list(SYSTEMS), sizes=SIZES, cutoffs=[5.0, 6.0], threads=[1, 2], rounds=None),
    "partition": dict(
        sizes=SIZES[1:],
        largest=10**7,
        chgnet_atoms=11_000,
        cut_atoms=10**5,
        cuts=[8, 16, 64],
        rounds=5,
        only=KINDS,
        device="cuda",
    ),
}
QUICK: dict[str, Facts] = {
    "neighbors": dict(
        systems=["fcc Cu", "water", "Cu nanoparticle"], sizes=SIZES[:1], cutoffs=[5.0], threads=[1], rounds=2
    ),
    "partition": dict(sizes=SIZES[:1], largest=0, chgnet_atoms=1_000, cut_atoms=10**4, cuts=[8], rounds=2),
}
SLAB_ATOMS = 48_000
MOST_ATOMS_FOR_ALL = 200_000
LONGEST_TURN = 10.0  # s, expected
CUTOFF, BOND_CUTOFF, CHGNET_CUTOFF = 5.0, 3.0, 6.0  # Å, of graphs in partitions
N_PARTITIONS = 8


@dataclass(frozen=True)
class Contests:
    """Where they are held, and how long they may take."""

    arena: Arena
    rounds: int | None
    """Measured turns of each candidate, at most; None: fewer for more atoms."""
    limit: float
    """s, after which a turn is given up."""
    budget: float
    """s for the turns of a candidate, beyond three."""
    pace: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """Seconds per atom known so far, by kind, candidate and system."""

    def hold(self, kind: str, system: str, entered: list[Candidate], **facts: Any) -> Facts:
        """One contest."""
        n_atoms = len(entered[0].atoms)
        print(f"{kind}: {system}, {n_atoms} atoms, {facts}", file=sys.stderr)
        rounds = self.rounds
        if rounds is None:
            rounds = 7 if n_atoms < 50_000 else 5 if n_atoms < MOST_ATOMS_FOR_ALL else 3
        results = self.arena.compete(entered, rounds, self.limit, self.budget)
        return {"kind": kind, "system": system, "n_atoms": n_atoms, **facts, "results": results}


def neighbors(
    contests: Contests, systems: list[str], sizes: list[int], cutoffs: list[float], threads: list[int]
) -> Iterator[Facts]:
    """Contests in the order of their sizes; at the largest size the cheap ones only."""
    yield boundaries(contests, min(SLAB_ATOMS, max(sizes)), cutoffs[0])
    for size, system in product(sorted(sizes), systems):
        atoms = SYSTEMS[system](size)
        for cutoff, n_threads in product(cutoffs, threads):
            small = size <= MOST_ATOMS_FOR_ALL
            reference = system == "fcc Cu" and cutoff == cutoffs[0]
            everyone = n_threads == 1 and (small or system == "fcc Cu")
            if small or reference or (n_threads == 1 and cutoff == cutoffs[0]):
                yield search(contests, "edges", system, atoms, cutoff, n_threads, everyone)
            if small or (reference and n_threads == 1):
                yield search(contests, "arrays", system, atoms, cutoff, n_threads, everyone)


def search(
    contests: Contests, kind: str, system: str, atoms: Atoms, cutoff: float, threads: int, everyone: bool
) -> Facts:
    """One contest, with a line for each candidate that is left out."""
    entrants = {name: ENTRANTS[kind][name] for name in (ENTRANTS[kind] if everyone else FASTEST)}
    if everyone and kind == "edges" and system == "fcc Cu":
        for level in core.simd_levels[1:]:
            entrants[f"distmlip, {level}"] = {**entrants["distmlip"], "simd": level}
    not_run, entered = {}, []
    for name, how in entrants.items():
        expected = contests.pace.get((kind, name, system), 0.0) * len(atoms)
        if expected > LONGEST_TURN:
            not_run[name] = {"status": f"not run: about {expected:.0f} s expected"}
        else:
            entered.append(entrant(name, atoms, cutoff, threads=threads, **how))
    case = contests.hold(kind, system, entered, n_pairs=None, cutoff=cutoff, threads=threads)
    case["results"] |= not_run
    for name, result in case["results"].items():
        if "cpu_s" in result and threads == 1:
            contests.pace[kind, name, system] = seconds(result) / len(atoms)
    return with_pairs(case)


def boundaries(contests: Contests, size: int, cutoff: float) -> Facts:
    """A slab under vacuum, its third axis open and periodic."""
    entered = []
    for boundary in ("TTF", "TTT"):
        atoms = slab(size)
        atoms.pbc = [letter == "T" for letter in boundary]
        edges = ENTRANTS["edges"]
        entered += [entrant(f"{name} {boundary}", atoms, cutoff, **edges[name]) for name in FASTEST]
    return with_pairs(contests.hold("boundaries", "Cu slab", entered, n_pairs=None, cutoff=cutoff, threads=1))


def with_pairs(case: Facts) -> Facts:
    """The same, with the number of pairs, which all should agree on."""
    counts = {result["n_pairs"] for result in case["results"].values() if "n_pairs" in result}
    if len(counts) > 1:
        print(f"!! pairs differ: {counts}", file=sys.stderr)
    return case | {"n_pairs": min(counts, default=None)}


def partitions(
    contests: Contests,
    sizes: list[int],
    largest: int,
    chgnet_atoms: int,
    cut_atoms: int,
    cuts: list[int],
    only: list[str],
    device: str,
) -> Iterator[Facts]:
    """The contests of these kinds."""
    if "graphs" in only:
        for size in sizes:
            yield from graphs(contests, size)
    if "largest" in only and largest:  # one turn: does it fit?
        yield replace(contests, rounds=0).hold("largest", "fcc Cu", [graph("distmlip", copper(largest))])
    if "chgnet" in only:
        yield beside_chgnet(contests, lithium_manganese_oxide(chgnet_atoms))
    if "cuts" in only:
        yield from beside_metis(contests, water(cut_atoms), cuts)
    if "gpu" in only:
        yield on_gpu(contests, max(sizes), device)


def graphs(contests: Contests, size: int) -> Iterator[Facts]:
    """Copper in order and shuffled, on one thread and two; with angles; then the other systems."""
    atoms = copper(size)
    both = {"distmlip": 1, "distmlip, 2 threads": 2}
    in_order, on_two = (graph(name, atoms, threads=threads) for name, threads in both.items())
    shuffled = graph("distmlip, shuffled", shuffled_copper(size))
    yield contests.hold("graph", "fcc Cu", [in_order, shuffled, on_two, yardstick(atoms)])
    angles = partial(graph, atoms=atoms, prepare=candidates.distmlip_angles, bond_cutoff=BOND_CUTOFF)
    yield contests.hold("angles", "fcc Cu", [angles(name, threads=threads) for name, threads in both.items()])
    for system in ("water", "porous Cu", "Cu nanoparticle", "Cu slab"):
        atoms = SYSTEMS[system](size)
        yield contests.hold("graph", system, [graph("distmlip", atoms), yardstick(atoms)])


def graph(name: str, atoms: Atoms, prepare: Prepare = candidates.distmlip_graph, **options: Any) -> Candidate:
    """Over the usual number of partitions."""
    return entrant(name, atoms, CUTOFF, prepare, n_partitions=N_PARTITIONS, **options)


def yardstick(atoms: Atoms) -> Candidate:
    """The undivided list of vesin."""
    return entrant("vesin", atoms, CUTOFF, candidates.vesin_edges, "vesin")


def beside_chgnet(contests: Contests, atoms: Atoms) -> Facts:
    """Both graphs of LiMnO2; the converter takes one turn, as it needs seconds."""
    enter = partial(entrant, atoms=atoms, cutoff=CHGNET_CUTOFF, bond_cutoff=BOND_CUTOFF)
    theirs = enter("chgnet", prepare=candidates.chgnet_graph, package="chgnet")
    case = contests.hold(
        "chgnet", "LiMnO2", [enter("distmlip", prepare=candidates.distmlip_angles, n_partitions=1)]
    )
    case["results"] |= replace(contests, rounds=0).hold("chgnet", "LiMnO2", [theirs])["results"]
    return case


def beside_metis(contests: Contests, atoms: Atoms, counts: list[int]) -> Iterator[Facts]:
    """Every method over so many partitions, beside METIS."""
    edges = np.bincount(neighbor_list("i", atoms, CUTOFF), minlength=len(atoms))
    for n_partitions in counts:
        enter = partial(entrant, atoms=atoms, cutoff=CUTOFF, n_partitions=n_partitions)
        ours = partial(enter, prepare=candidates.distmlip_graph, edges_of_atoms=edges)
        entered = [
            enter("METIS", prepare=candidates.metis_cut, package="pymetis"),
            *(ours(method, method=method) for method in METHODS),
        ]
        yield contests.hold("cut", "water", entered, n_partitions=n_partitions)


def on_gpu(contests: Contests, size: int, device: str) -> Facts:
    """Both packages' neighbour lists on the GPU, if there is one; in a rehearsal on the CPU."""
    if device != "cpu" and not torch.cuda.is_available():
        return {"kind": "gpu", "status": "compiled, not run: there was no GPU"}
    enter = partial(entrant, atoms=copper(size), cutoff=CUTOFF, device=device)
    entered = [
        enter("distmlip", prepare=candidates.distmlip_device_edges),
        enter("distmlip, compact", prepare=candidates.distmlip_device_edges, compact=True),
        enter("nvalchemi", prepare=candidates.nvalchemi_edges, package="nvalchemiops"),
    ]
    spawned = replace(contests, arena=Arena(contests.arena.packages, spawn=True), rounds=20)
    name = device if device == "cpu" else torch.cuda.get_device_name()
    return spawned.hold("gpu", "fcc Cu", entered, device=name)


def main() -> None:
    """Measure, write JSON, print tables."""
    arguments = parsed()
    what = arguments.what
    output = arguments.output or (None if arguments.quick else RESULTS / f"{what}.json")
    options = DEFAULTS[what] | (QUICK[what] if arguments.quick else {})
    options |= {name: given for name in options if (given := getattr(arguments, name)) is not None}
    arena, rounds = Arena(arguments.packages), options.pop("rounds")
    if what == "neighbors":
        cases = neighbors(Contests(arena, rounds, limit=40.0, budget=5.0), **options)
        print(result_tables.neighbors(record(output, cases, simd=list(core.simd_levels)), everything=True))
    else:
        cases = partitions(Contests(arena, rounds, limit=120.0, budget=10.0), **options)
        print(result_tables.partition(record(output, cases)))


def parsed() -> argparse.Namespace:
    """The command line; None where nothing is given."""
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--sizes", nargs="+", type=int, help="atoms, about")
    both.add_argument("--packages", nargs="+", choices=list(PACKAGES), default=list(PACKAGES))
    both.add_argument("--rounds", type=int, help="measured turns of each candidate, at most")
    both.add_argument("--quick", action="store_true", help="few structures, small ones, few rounds")
    both.add_argument("--output", type=Path, help="JSON; by default in benchmarks/results unless quick")
    parser = command_line(__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    of_neighbors = kinds.add_parser("neighbors", parents=[both])
    of_neighbors.add_argument("--systems", nargs="+", choices=list(SYSTEMS))
    of_neighbors.add_argument("--cutoffs", nargs="+", type=float, help="Å")
    of_neighbors.add_argument("--threads", nargs="+", type=int)
    of_partitions = kinds.add_parser("partition", parents=[both])
    of_partitions.add_argument("--largest", type=int, help="atoms of a graph that is built once; 0: none")
    of_partitions.add_argument("--cut-atoms", type=int, help="atoms of the water that is cut")
    of_partitions.add_argument("--chgnet-atoms", type=int)
    of_partitions.add_argument("--cuts", nargs="+", type=int, help="numbers of partitions")
    of_partitions.add_argument("--only", nargs="+", choices=KINDS)
    of_partitions.add_argument("--device", help="of the GPU's contest; cpu: a rehearsal of it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
