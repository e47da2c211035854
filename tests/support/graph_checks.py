"""What must hold for a neighbour list and for a cut graph, checked against brute force, array by array."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from support.brute_force import (
    EdgeArrays,
    edge_keys,
    edges_within,
    sorted_rows,
)

from distmlip._native import core
from distmlip.graph.neighbors import neighbor_list
from distmlip.graph.partitioning import Partitioning


@dataclass(frozen=True)
class Piece:
    """One partition, from whichever interface; rows are local, shifts hold for the positions as given."""

    owned: np.ndarray
    halo: np.ndarray
    halo_owner: np.ndarray
    receivers: np.ndarray
    senders: np.ndarray
    shifts: np.ndarray
    send: list[np.ndarray]
    bonds: np.ndarray | None = None
    """Edges that are shorter than the bond cutoff."""
    angles: np.ndarray | None = None
    """(n_angles, 2) edges."""
    cut_bonds: list[np.ndarray] | None = None
    """By partner partition: edges whose bond has a copy there."""

    @cached_property
    def rows(self) -> np.ndarray:
        return np.concatenate([self.owned, self.halo])

    @cached_property
    def keys(self) -> np.ndarray:
        """(n_edges, 5) global receiver and sender, shift."""
        return edge_keys(self.rows[self.receivers], self.rows[self.senders], self.shifts)


def pieces_of(cut: Partitioning) -> list[Piece]:
    pieces = []
    for part in cut.parts:
        bonds = part.bonds
        pieces.append(
            Piece(
                owned=part.owned,
                halo=part.halo,
                halo_owner=part.halo_owner,
                receivers=part.receivers,
                senders=part.senders,
                shifts=part.shifts,
                send=list(part.send),
                bonds=bonds,
                angles=None if bonds is None else bonds[part.angles],
                cut_bonds=None if bonds is None else [bonds[which] for which in part.bond_halo],
            )
        )
    return pieces


def core_pieces(cut: core.Decomposition, graphs: list[dict[str, np.ndarray]]) -> list[Piece]:
    """``graphs``: what ``cut.step`` returned, by partition."""
    pieces = []
    for p, graph in enumerate(graphs):
        owned, halo = cut.owned(p), cut.halo(p)
        receivers, senders = graph["receivers"], graph["senders"]
        owners, begin = cut.halo_groups(p)
        pieces.append(
            Piece(
                owned=owned,
                halo=halo,
                halo_owner=np.repeat(owners, np.diff(begin)),
                receivers=receivers,
                senders=senders,
                shifts=graph["shifts"],
                send=by_partner(cut.send(p), cut.send_groups(p), cut.n_partitions),
                bonds=graph.get("short_edges"),
                angles=graph.get("angles"),
                cut_bonds=cut_edges(graph, cut.n_partitions) if cut.bond_cutoff > 0 else None,
            )
        )
    return pieces


def by_partner(rows: np.ndarray, groups: tuple[np.ndarray, np.ndarray], count: int) -> list[np.ndarray]:
    partners, begin = groups
    assert np.all(np.diff(partners) > 0)
    assert np.all(np.diff(begin) > 0)
    assert (begin[0], begin[-1]) == (0, len(rows))
    listed = [rows[:0]] * count
    for partner, first, last in zip(partners, begin[:-1], begin[1:], strict=True):
        listed[partner] = rows[first:last]
    return listed


def cut_edges(graph: dict[str, np.ndarray], count: int) -> list[np.ndarray]:
    """By partner: edges whose bond has a copy there, which has one edge here; the other is the partner's."""
    edges, bonds = graph["cut_edges"], graph["edge_bond"]
    assert np.all(np.bincount(bonds, minlength=1)[bonds[edges]] == 1)
    return by_partner(edges, graph["cut_groups"], count)


# --- neighbour lists ---------------------------------------------------------------------------------------


def assert_same_edges(found: np.ndarray, expected: EdgeArrays, cutoff: float) -> None:
    """``found``: (n_edges, 5) in any order, each edge once."""
    ordered = found[sorted_rows(found)]
    if np.array_equal(ordered, expected.keys):
        return
    ours, theirs = set(map(tuple, ordered.tolist())), set(map(tuple, expected.keys.tolist()))
    lengths = dict(zip(map(tuple, expected.keys.tolist()), expected.lengths.tolist(), strict=True))
    missing = [(edge, lengths[edge] - cutoff) for edge in sorted(theirs - ours)]
    raise AssertionError(
        f"{len(found)} edges, {len(expected)} expected, {len(found) - len(ours)} twice; "
        f"too many: {sorted(ours - theirs)[:5]}; missing, with length - cutoff: {missing[:5]}"
    )


def check_neighbor_list(atoms: Atoms, cutoff: float) -> EdgeArrays:
    """All quantities of :func:`neighbor_list`, bit for bit; returns what was expected."""
    expected = edges_within(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    i, j, d, D, S = neighbor_list("ijdDS", atoms, cutoff)
    keys = edge_keys(i, j, S)
    assert_same_edges(keys, expected, cutoff)
    assert np.all(np.diff(i) >= 0)
    order = sorted_rows(keys)
    np.testing.assert_array_equal(D[order], expected.vectors)
    np.testing.assert_array_equal(d[order], expected.lengths)
    return expected


# --- partitions --------------------------------------------------------------------------------------------


def check_partitioning(
    atoms: Atoms, cutoff: float, cut: Partitioning, count: int, bond_cutoff: float | None = None
) -> None:
    """Everything that :class:`Partitioning` promises."""
    pieces = pieces_of(cut)
    assert len(pieces) == count
    expected = edges_within(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    check_rows(pieces, cut.owner)
    check_edges(pieces, cut.owner, expected, cutoff)
    check_halos_are_read(pieces, atoms, cutoff)
    for part, piece in zip(cut.parts, pieces, strict=True):
        np.testing.assert_array_equal(np.concatenate(part.recv), np.arange(len(part.owned), len(piece.rows)))
        assert [len(rows) for rows in part.recv] == np.bincount(part.halo_owner, minlength=count).tolist()
    if bond_cutoff is not None:
        check_bonds(pieces, cut.owner, expected.within(bond_cutoff))


def check_decomposition(
    atoms: Atoms, cut: core.Decomposition, moved: np.ndarray | None = None, cell: np.ndarray | None = None
) -> list[dict[str, np.ndarray]]:
    """Everything that a decomposition of ``atoms`` promises, with the atoms where they are or ``moved`` to
    (n_atoms, 3), in the cell that they have or another ``cell`` (3, 3). Returns the graphs."""
    positions = atoms.positions if moved is None else moved
    now = atoms.cell.array if cell is None else cell
    assert cut.still_valid(positions, now, atoms.pbc)
    expected = edges_within(positions, now, atoms.pbc, cut.cutoff)
    graphs = [cut.step(p, positions, cell) for p in range(cut.n_partitions)]
    pieces = core_pieces(cut, graphs)
    check_rows(pieces, cut.owner)
    check_edges(pieces, cut.owner, expected, cut.cutoff)
    check_halos_are_read(pieces, atoms, cut.cutoff + cut.skin)
    check_vectors(pieces, graphs, expected)
    if cut.bond_cutoff > 0:
        check_bonds(pieces, cut.owner, expected.within(cut.bond_cutoff))
        for piece, graph in zip(pieces, graphs, strict=True):
            check_bond_numbers(piece, graph)
    return graphs


def check_rows(pieces: list[Piece], owner: np.ndarray) -> None:
    """Every atom has one owner; what is sent is what the other side's halo holds."""
    n_atoms = len(owner)
    everyone = np.concatenate([piece.owned for piece in pieces])
    np.testing.assert_array_equal(np.sort(everyone), np.arange(n_atoms))
    for p, piece in enumerate(pieces):
        assert np.all(owner[piece.owned] == p)
        np.testing.assert_array_equal(owner[piece.halo], piece.halo_owner)
        assert np.all(np.diff(piece.halo_owner) >= 0)
        assert np.all(piece.halo_owner != p)
        assert len(np.unique(piece.halo)) == len(piece.halo)
        assert len(piece.send) == len(pieces)
        for q, other in enumerate(pieces):
            rows = piece.send[q]
            if len(rows) == len(other.halo) == 0:
                continue
            assert np.all((rows >= 0) & (rows < len(piece.owned)))
            assert np.array_equal(piece.owned[rows], other.halo[other.halo_owner == p])


def check_edges(pieces: list[Piece], owner: np.ndarray, expected: EdgeArrays, cutoff: float) -> None:
    for p, piece in enumerate(pieces):
        assert np.all(np.diff(piece.receivers) >= 0)
        if len(piece.receivers):
            assert piece.receivers[0] >= 0
            assert piece.receivers[-1] < len(piece.owned)
            assert piece.senders.min() >= 0
            assert piece.senders.max() < len(piece.rows)
        assert len(piece.senders) == np.count_nonzero(owner[expected.receivers] == p)
    assert_same_edges(np.concatenate([piece.keys for piece in pieces]), expected, cutoff)


def check_halos_are_read(pieces: list[Piece], atoms: Atoms, reach: float) -> None:
    """A halo holds every atom that a candidate edge starts at, and none that is further away than the
    rounding of coordinates in float32 can explain."""
    margin = 1e-5 * reach + 2e-6 * _extent(atoms) + 1e-12 * np.abs(atoms.positions).max(initial=0.0)
    possible = edges_within(atoms.positions, atoms.cell.array, atoms.pbc, reach + margin)
    needed = possible.within(reach)
    for piece in pieces:
        halo = set(piece.halo.tolist())
        assert _senders_from_elsewhere(piece, needed) <= halo
        assert halo <= _senders_from_elsewhere(piece, possible)


def _extent(atoms: Atoms) -> float:
    """Å, of the atoms in the cell."""
    if len(atoms) == 0:
        return 0.0
    cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    inside = atoms.positions - np.floor(atoms.positions @ np.linalg.pinv(cell)) @ cell
    return float(np.ptp(inside, axis=0).max())


def _senders_from_elsewhere(piece: Piece, edges: EdgeArrays) -> set[int]:
    owned = np.zeros(1 + max(edges.receivers.max(initial=-1), piece.owned.max(initial=-1)), dtype=bool)
    owned[piece.owned] = True
    senders = edges.senders[owned[edges.receivers]]
    return set(senders[~owned[senders]].tolist())


def check_vectors(pieces: list[Piece], graphs: list[dict[str, np.ndarray]], expected: EdgeArrays) -> None:
    keys = np.concatenate([piece.keys for piece in pieces])
    vectors = np.concatenate([graph["vectors"] for graph in graphs])
    np.testing.assert_array_equal(vectors[sorted_rows(keys)], expected.vectors)


# --- bonds and angles --------------------------------------------------------------------------------------


def check_bonds(pieces: list[Piece], owner: np.ndarray, expected: EdgeArrays) -> None:
    """``expected``: the edges shorter than the bond cutoff."""
    bonds = [piece.keys[piece.bonds] for piece in pieces]
    for piece in pieces:
        assert np.all(np.diff(piece.bonds) > 0)
        check_angles(piece)
    found = np.concatenate(bonds)
    np.testing.assert_array_equal(found[sorted_rows(found)], expected.keys)
    for p, piece in enumerate(pieces):
        for q, other in enumerate(pieces):
            if len(piece.cut_bonds[q]) == len(other.cut_bonds[p]) == len(bonds[p]) == 0:
                continue
            here, there = piece.keys[piece.cut_bonds[q]], other.keys[other.cut_bonds[p]]
            assert np.array_equal(here, reversed_keys(there))
            across = (owner[bonds[p][:, 1]] == q) & (p != q)
            assert np.array_equal(np.sort(piece.cut_bonds[q]), piece.bonds[across])


def check_angles(piece: Piece) -> None:
    """All ordered pairs of different bonds with the same receiver: as many as there must be, each once."""
    n_edges = len(piece.receivers)
    is_bond = np.zeros(n_edges, dtype=bool)
    is_bond[piece.bonds] = True
    first, second = piece.angles.T
    assert is_bond[first].all()
    assert is_bond[second].all()
    assert np.all(first != second)
    np.testing.assert_array_equal(piece.receivers[first], piece.receivers[second])
    assert len(np.unique(first * n_edges + second)) == len(piece.angles)
    n_bonds = np.bincount(piece.receivers[piece.bonds])
    assert len(piece.angles) == np.sum(n_bonds * (n_bonds - 1))


def reversed_keys(keys: np.ndarray) -> np.ndarray:
    return np.column_stack([keys[:, 1], keys[:, 0], -keys[:, 2:]])


def check_bond_numbers(piece: Piece, graph: dict[str, np.ndarray]) -> None:
    """An edge and its reverse are one bond; bonds are numbered by the first of their edges."""
    keys, opposite = piece.keys, reversed_keys(piece.keys)
    # The same row for both directions: the smaller one.
    both = np.stack([keys, opposite])
    differs = (keys != opposite).argmax(axis=1)
    rows = np.arange(len(keys))
    smaller = both[(opposite[rows, differs] < keys[rows, differs]).astype(int), rows]
    _, first, bond = np.unique(smaller, axis=0, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    np.testing.assert_array_equal(graph["bond_edge"], np.sort(first))
    np.testing.assert_array_equal(graph["edge_bond"], number[bond.reshape(-1)])


def arrays_of(cut: core.Decomposition, positions: np.ndarray, n_threads: int = 1) -> dict[str, np.ndarray]:
    """Everything that a decomposition tells, by name: to be compared bit for bit."""
    graphs = [cut.step(p, positions, n_threads=n_threads) for p in range(cut.n_partitions)]
    everything = {"owner": cut.owner}
    for p, (piece, graph) in enumerate(zip(core_pieces(cut, graphs), graphs, strict=True)):
        arrays = {**vars(piece), **graph}
        for name, value in arrays.items():
            if isinstance(value, np.ndarray):
                everything[f"{name} {p}"] = value
            elif value is not None:
                everything |= {f"{name} {p} {k}": array for k, array in enumerate(value)}
    return everything


def assert_same_arrays(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].tobytes() == array.tobytes(), name
