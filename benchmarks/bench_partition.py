"""Graphs in partitions: time and memory, with and without angles; halo and balance beside METIS; the GPU.

    python benchmarks/bench_partition.py            everything, about 6 minutes on 2 cores
    python benchmarks/bench_partition.py --quick    one minute: small systems, few rounds

Contests, in turns (measure.py). "graph": 8 partitions with their halo and send lists, beside vesin's
undivided list as the yardstick. "angles": the same with bonds and angles within 3 Å, the step graph of one
partition after another. "chgnet": the graph that chgnet's fast converter makes. "cut": water over more and
more partitions, beside METIS, which is given the finished graph (its time has only the cut, distmlip's all
of the graphs) and the number of edges as the weight of each atom. "gpu": the neighbour lists of distmlip
and nvalchemi-toolkit-ops on the same GPU. "largest": a graph that is built once, for its memory.

Writes benchmarks/results/partition.json and prints it as tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import candidates
import numpy as np
import tables
import torch
from ase import Atoms
from measure import PACKAGES, RESULTS, Arena, Candidate, Facts, machine, versions, write_results
from systems import SYSTEMS, copper, lithium_manganese_oxide, shuffled_copper, water
from tables import METHODS

from distmlip import neighbor_list

OUTPUT = RESULTS / "partition.json"
CUTOFF, BOND_CUTOFF = 5.0, 3.0  # Å
CHGNET_CUTOFF = 6.0  # Å
N_PARTITIONS = 8
LIMIT = 120.0  # s, after which a turn is given up
KINDS = ["graphs", "largest", "chgnet", "cuts", "gpu"]
BUDGET = 10.0  # s for the turns of a candidate, beyond three
FULL = {
    "sizes": [10**5, 10**6],
    "largest": 10**7,
    "chgnet_atoms": 11_000,
    "cut_atoms": 10**5,
    "cuts": [8, 16, 64],
    "rounds": 5,
}
QUICK = {"sizes": [10**4], "largest": 0, "chgnet_atoms": 1_000, "cut_atoms": 10**4, "cuts": [8], "rounds": 2}


class Bench:
    """The contests."""

    def __init__(self, arena: Arena, rounds: int) -> None:
        self.arena = arena
        self.rounds = rounds

    def graphs(self, size: int) -> Iterator[Facts]:
        """Copper in order and shuffled, on one thread and two; with angles; then the other systems."""
        atoms = copper(size)
        yield self._contest(
            "graph",
            "fcc Cu",
            [
                _graph("distmlip", atoms),
                _graph("distmlip, shuffled", shuffled_copper(size)),
                _graph("distmlip, 2 threads", atoms, threads=2),
                _yardstick(atoms),
            ],
        )
        angles = [_angles("distmlip", atoms, threads=1), _angles("distmlip, 2 threads", atoms, threads=2)]
        yield self._contest("angles", "fcc Cu", angles)
        for system in ("water", "porous Cu", "Cu nanoparticle", "Cu slab"):
            atoms = SYSTEMS[system](size)
            yield self._contest("graph", system, [_graph("distmlip", atoms), _yardstick(atoms)])

    def largest(self, size: int) -> Facts:
        """One turn: does it fit?"""
        return self._contest("largest", "fcc Cu", [_graph("distmlip", copper(size))], rounds=0)

    def chgnet(self, size: int) -> Facts:
        """Both graphs of LiMnO2; the converter takes one turn, as it needs seconds."""
        atoms = lithium_manganese_oxide(size)
        options = {"cutoff": CHGNET_CUTOFF, "bond_cutoff": BOND_CUTOFF}
        theirs = Candidate("chgnet", candidates.chgnet_graph, atoms, options, "chgnet")
        ours = Candidate("distmlip", candidates.distmlip_angles, atoms, {**options, "n_partitions": 1})
        case = self._contest("chgnet", "LiMnO2", [ours])
        case["results"] |= self._contest("chgnet", "LiMnO2", [theirs], rounds=0)["results"]
        return case

    def cuts(self, size: int, counts: list[int]) -> Iterator[Facts]:
        """Every method over so many partitions, beside METIS."""
        atoms = water(size)
        edges = np.bincount(neighbor_list("i", atoms, CUTOFF), minlength=len(atoms))
        for n_partitions in counts:
            options = {"cutoff": CUTOFF, "n_partitions": n_partitions}
            entered = [Candidate("METIS", candidates.metis_cut, atoms, options, "pymetis")]
            for method in METHODS:
                ours = {**options, "method": method, "edges_of_atoms": edges}
                entered.append(Candidate(method, candidates.distmlip_graph, atoms, ours))
            yield self._contest("cut", "water", entered) | {"n_partitions": n_partitions}

    def gpu(self, size: int) -> Facts:
        """Both neighbour lists on the GPU, if there is one."""
        if not torch.cuda.is_available():
            return {"kind": "gpu", "status": "compiled, not run: there was no GPU"}
        atoms, options = copper(size), {"cutoff": CUTOFF, "device": "cuda"}
        entered = [
            Candidate("distmlip", candidates.distmlip_device_edges, atoms, options),
            Candidate(
                "distmlip, compact", candidates.distmlip_device_edges, atoms, {**options, "compact": True}
            ),
            Candidate("nvalchemi", candidates.nvalchemi_edges, atoms, options, "nvalchemiops"),
        ]
        on_gpu = Bench(Arena(self.arena.packages, spawn=True), rounds=20)
        return on_gpu._contest("gpu", "fcc Cu", entered) | {"device": torch.cuda.get_device_name()}

    def _contest(self, kind: str, system: str, entered: list[Candidate], rounds: int | None = None) -> Facts:
        n_atoms = len(entered[0].atoms)
        print(f"{kind}: {system}, {n_atoms} atoms", file=sys.stderr)
        turns = self.rounds if rounds is None else rounds
        results = self.arena.compete(entered, turns, LIMIT, BUDGET)
        return {"kind": kind, "system": system, "n_atoms": n_atoms, "results": results}


def _graph(name: str, atoms: Atoms, threads: int = 1) -> Candidate:
    options = {"cutoff": CUTOFF, "n_partitions": N_PARTITIONS, "threads": threads}
    return Candidate(name, candidates.distmlip_graph, atoms, options, threads=threads)


def _angles(name: str, atoms: Atoms, threads: int) -> Candidate:
    options = {"cutoff": CUTOFF, "bond_cutoff": BOND_CUTOFF, "n_partitions": N_PARTITIONS, "threads": threads}
    return Candidate(name, candidates.distmlip_angles, atoms, options, threads=threads)


def _yardstick(atoms: Atoms) -> Candidate:
    return Candidate("vesin", candidates.vesin_edges, atoms, {"cutoff": CUTOFF}, "vesin")


def main() -> None:
    """Measure, write JSON, print tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=int, help="atoms of the graphs, about")
    parser.add_argument("--largest", type=int, help="atoms of a graph that is built once; 0: none")
    parser.add_argument("--cut-atoms", type=int, help="atoms of the water that is cut")
    parser.add_argument("--chgnet-atoms", type=int)
    parser.add_argument("--cuts", nargs="+", type=int, help="numbers of partitions")
    parser.add_argument("--packages", nargs="+", choices=list(PACKAGES), default=list(PACKAGES))
    parser.add_argument("--rounds", type=int, help="measured turns of each candidate, at most")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="which contests")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, help="JSON; by default in benchmarks/results unless quick")
    arguments = parser.parse_args()
    output = arguments.output or (None if arguments.quick else OUTPUT)
    options: dict[str, Any] = {**(QUICK if arguments.quick else FULL)}
    options |= {
        name: value for name, value in vars(arguments).items() if name in options and value is not None
    }
    arena = Arena(arguments.packages)
    header, measured = {"machine": machine(), "versions": versions()}, []
    for case in run(Bench(arena, options["rounds"]), options, arguments.only):
        measured.append(case)
        write_results(output, header, measured)
    print(tables.partition({**header, "cases": measured}))


def run(bench: Bench, options: dict[str, Any], only: list[str]) -> Iterator[Facts]:
    """The contests of these kinds."""
    if "graphs" in only:
        for size in options["sizes"]:
            yield from bench.graphs(size)
    if "largest" in only and options["largest"]:
        yield bench.largest(options["largest"])
    if "chgnet" in only:
        yield bench.chgnet(options["chgnet_atoms"])
    if "cuts" in only:
        yield from bench.cuts(options["cut_atoms"], options["cuts"])
    if "gpu" in only:
        yield bench.gpu(max(options["sizes"]))


if __name__ == "__main__":
    main()
