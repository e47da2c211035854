"""What the graph benchmarks compare: distmlip and its peers, each in its fastest setting for the same output.

Every function takes atoms and options, does what need not be repeated from call to call (conversion of the
input, buffers that the package keeps), and returns what is timed and what is said of its result. Those named
``edges`` and ``graph`` find who is whose neighbour in which image, in the package's own form; those named
``arrays`` give ``neighbor_list("ijSD")`` as new NumPy arrays, sorted by i.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from ase import Atoms
from harness import Call, Candidate, Describe, Facts, Prepare

from distmlip import neighbor_list
from distmlip._native import core


def distmlip_graph(
    atoms: Atoms,
    cutoff: float,
    *,
    n_partitions: int = 1,
    method: str = "auto",
    threads: int = 1,
    simd: str | None = None,
    edges_of_atoms: np.ndarray | None = None,
) -> tuple[Call, Describe]:
    """Row pointers, int32 senders, 2-byte shift codes, halo and send lists of each partition, left in C++."""
    if simd is not None:
        core.set_simd(simd)
    system = (atoms.positions, atoms.cell.array, atoms.pbc)

    def cut() -> Any:
        return core.Decomposition(
            *system, cutoff=cutoff, n_partitions=n_partitions, method=method, n_threads=threads
        )

    def describe(result: Any) -> Facts:
        halo = sum(len(result.halo(p)) for p in range(n_partitions))
        return {"method": result.method} | quality(result.owner, halo, n_partitions, edges_of_atoms)

    return cut, describe


def distmlip_device_edges(
    atoms: Atoms, cutoff: float, *, device: str = "cuda", compact: bool = False
) -> tuple[Call, Describe]:
    """On a device: int64 pairs and int32 shifts; ``compact``: row pointers, int32 senders, 2-byte codes."""
    positions = torch.tensor(atoms.positions, device=device)
    cell, periodic = torch.tensor(atoms.cell.array), atoms.pbc.tolist()

    def find() -> dict[str, Any]:
        if compact:
            tensors = core.device_neighbor_rows(positions, cell, periodic, cutoff)
        else:
            tensors = core.device_neighbor_list("ijS", positions, cell, periodic, cutoff)
        wait(device)
        return dict(tensors)

    def describe(tensors: dict[str, Any]) -> Facts:
        n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        facts = {"n_pairs": len(tensors["sender" if compact else "j"]), "bytes": n_bytes}
        tensors.clear()
        return {**facts, "fill_s": seconds_to_fill(n_bytes, device)}

    return find, describe


def seconds_to_fill(n_bytes: int, device: str) -> float:
    """The shortest of some fills of so many bytes: what the device's bandwidth allows."""
    block = torch.empty(n_bytes, dtype=torch.uint8, device=device)
    times = []
    for _ in range(10):
        wait(device)
        start = time.perf_counter()
        block.fill_(1)
        wait(device)
        times.append(time.perf_counter() - start)
    return min(times)


def wait(device: str) -> None:
    """Until the device has done all that it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def vesin_edges(atoms: Atoms, cutoff: float, *, threads: int = 1) -> tuple[Call, Describe]:
    """Int64 pairs and int32 shifts, in no order, in vesin's own buffers, kept from call to call."""
    import vesin

    neighbors = vesin.NeighborList(cutoff=cutoff, full_list=True, n_threads=threads)
    system = (atoms.positions, atoms.cell.array, atoms.pbc)
    return lambda: neighbors.compute(*system, "ijS", copy=False), n_pairs


def pymatgen_edges(atoms: Atoms, cutoff: float) -> tuple[Call, Describe]:
    """Int64 pairs, float64 shifts and distances."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    positions = np.ascontiguousarray(atoms.positions)
    pbc, cell = atoms.pbc.astype(np.int64), np.ascontiguousarray(atoms.cell.array)

    def describe(result: Any) -> Facts:
        return {"n_pairs": len(result[0]) - len(atoms)}  # it counts every atom as its own neighbour

    return lambda: find_points_in_spheres(positions, positions, cutoff, pbc, cell, 1e-8), describe


def nvalchemi_edges(atoms: Atoms, cutoff: float, *, device: str = "cpu") -> tuple[Call, Describe]:
    """Int32 matrices of neighbours and their shifts, as wide as the fullest row, in buffers that are kept."""
    from nvalchemiops.torch.neighbors import neighbor_list as nvalchemi_list

    rows = np.bincount(neighbor_list("i", atoms, cutoff), minlength=len(atoms))
    positions = torch.tensor(atoms.positions, device=device)
    cell, pbc = (
        torch.tensor(atoms.cell.array, device=device)[None],
        torch.tensor(atoms.pbc, device=device)[None],
    )
    width = -(-int(rows.max()) // 8) * 8
    whole = dict(dtype=torch.int32, device=device)
    buffers = dict(
        neighbor_matrix=torch.empty(len(atoms), width, **whole),
        neighbor_matrix_shifts=torch.empty(len(atoms), width, 3, **whole),
        num_neighbors=torch.empty(len(atoms), **whole),
    )

    def find() -> Any:
        result = nvalchemi_list(
            positions, cutoff, cell, pbc, method="cell_list", max_neighbors=width, **buffers
        )
        wait(device)
        return result

    return find, lambda result: {"n_pairs": int(result[1].sum())}


def distmlip_arrays(atoms: Atoms, cutoff: float) -> tuple[Call, Describe]:
    """What ``distmlip.neighbor_list`` gives."""
    return lambda: neighbor_list("ijSD", atoms, cutoff), n_pairs


def vesin_arrays(
    atoms: Atoms, cutoff: float, *, threads: int = 1, in_order: bool = True
) -> tuple[Call, Describe]:
    """With ``in_order`` what ``vesin.ase_neighbor_list`` gives, by an object that keeps its buffers."""
    import vesin

    neighbors = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=in_order, n_threads=threads)
    system = (atoms.positions, atoms.cell.array, atoms.pbc)
    return lambda: neighbors.compute(*system, "ijSD"), n_pairs


def matscipy_arrays(atoms: Atoms, cutoff: float) -> tuple[Call, Describe]:
    """What ``matscipy.neighbours.neighbour_list`` gives."""
    from matscipy.neighbours import neighbour_list

    return lambda: neighbour_list("ijSD", atoms, cutoff), n_pairs


def ase_arrays(atoms: Atoms, cutoff: float) -> tuple[Call, Describe]:
    """What ``ase.neighborlist.neighbor_list`` gives."""
    from ase.neighborlist import neighbor_list as ase_neighbor_list

    return lambda: ase_neighbor_list("ijSD", atoms, cutoff), n_pairs


def distmlip_angles(
    atoms: Atoms, cutoff: float, *, bond_cutoff: float, n_partitions: int, threads: int = 1
) -> tuple[Call, Describe]:
    """The step graph of one partition after another: int64 edges, float64 vectors, bonds and angles."""
    system = (atoms.positions, atoms.cell.array, atoms.pbc)

    def build() -> Facts:
        cut = core.Decomposition(
            *system, cutoff=cutoff, bond_cutoff=bond_cutoff, n_partitions=n_partitions, n_threads=threads
        )
        counts = {"n_pairs": 0, "n_angles": 0}
        for p in range(n_partitions):
            graph = cut.step(p, atoms.positions, n_threads=threads)
            counts["n_pairs"] += len(graph["senders"])
            counts["n_angles"] += len(graph["angles"])
        return counts

    return build, dict


def chgnet_graph(atoms: Atoms, cutoff: float, *, bond_cutoff: float) -> tuple[Call, Describe]:
    """What the fast converter of chgnet gives."""
    from chgnet.graph import CrystalGraphConverter
    from pymatgen.io.ase import AseAtomsAdaptor

    converter = CrystalGraphConverter(
        atom_graph_cutoff=cutoff, bond_graph_cutoff=bond_cutoff, algorithm="fast", on_isolated_atoms="ignore"
    )
    structure = AseAtomsAdaptor.get_structure(atoms)

    def describe(graph: Any) -> Facts:
        return {"n_pairs": len(graph.atom_graph), "n_angles": len(graph.bond_graph)}

    return lambda: converter(structure), describe


def metis_cut(atoms: Atoms, cutoff: float, *, n_partitions: int) -> tuple[Call, Describe]:
    """METIS on the finished graph, whose construction is not timed; the weight of an atom is its edges."""
    import pymetis

    receivers, senders = neighbor_list("ij", atoms, cutoff)
    weights = np.bincount(receivers, minlength=len(atoms))
    keys = np.unique(receivers * len(atoms) + senders)  # one edge where images of an atom give several
    first, second = np.divmod(keys, len(atoms))
    keep = first != second
    first, second = first[keep], second[keep]
    starts = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=len(atoms)))])
    graph = pymetis.CSRAdjacency(starts.astype(np.int32), second.astype(np.int32))

    def describe(result: Any) -> Facts:
        owner = np.asarray(result.vertex_part)
        crossing = owner[first] != owner[second]
        halo = len(np.unique(owner[first[crossing]] * len(atoms) + second[crossing]))
        return quality(owner, halo, n_partitions, weights)

    return lambda: pymetis.part_graph(n_partitions, graph, vweights=weights.astype(np.int32)), describe


def n_pairs(result: Any) -> Facts:
    """Of a tuple of arrays."""
    return {"n_pairs": len(result[0])}


def quality(owner: np.ndarray, halo: int, n_partitions: int, edges_of_atoms: np.ndarray | None) -> Facts:
    """Halo in percent of the atoms; the most loaded partition's edges over the mean, if edges are given."""
    facts = {"halo_percent": 100 * halo / max(1, len(owner))}
    if edges_of_atoms is not None and len(edges_of_atoms) == len(owner):
        edges = np.bincount(owner, edges_of_atoms, minlength=n_partitions)
        facts["imbalance"] = float(edges.max() / edges.mean())
    return facts


ENTRANTS: dict[str, dict[str, dict[str, Any]]] = {
    "edges": {
        "distmlip": {"prepare": distmlip_graph},
        "vesin": {"prepare": vesin_edges, "package": "vesin"},
        "nvalchemi": {"prepare": nvalchemi_edges, "package": "nvalchemiops"},
        "pymatgen": {"prepare": pymatgen_edges, "package": "pymatgen"},
    },
    "arrays": {
        "distmlip": {"prepare": distmlip_arrays},
        "vesin": {"prepare": vesin_arrays, "package": "vesin"},
        "vesin, unsorted": {"prepare": vesin_arrays, "package": "vesin", "in_order": False},
        "matscipy": {"prepare": matscipy_arrays, "package": "matscipy"},
        "ase": {"prepare": ase_arrays, "package": "ase"},
    },
}
"""Of both contests of neighbour lists: arguments of :func:`entrant`."""


def entrant(
    name: str,
    atoms: Atoms,
    cutoff: float,
    prepare: Prepare,
    package: str = "distmlip",
    threads: int = 1,
    **options: Any,
) -> Candidate:
    """A candidate with these options, the cutoff and, if there are several, the threads among them."""
    if threads > 1 and prepare is not distmlip_arrays:  # takes torch's
        options["threads"] = threads
    return Candidate(name, prepare, atoms, {"cutoff": cutoff, **options}, package, threads)
