"""CHGNet's blocks as native stages, which are gated messages of edges and angles.

Between stages: ``atoms`` (n_owned, width); ``bond_messages`` (n_short, width), from angles at owned centres
to short bonds, in the order of ``graph.bonds.short_bonds``, and ``cut_messages`` (n_cut, width), those of cut
bonds once more, which partitions swap. A block begins with the bonds' update by them.

Angles never cross: they are the largest tensor of all, and a block updates them from the first on in the time
that reading them would take. For that it reads ``atoms k`` and ``bonds k``, what these were when block ``k``
began. Long bonds are part of no angle, so that they are functions of their length: nothing is kept of them.
``bond_basis``, ``short_basis`` and ``angle_basis`` are functions of lengths and angles, with derivatives,
where they are evaluated once for all blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.models.chgnet.native_layers import (
    angle_update,
    atom_messages,
    bessel,
    bond_messages,
    out_of,
)
from distmlip.models.chgnet.stages import Blocks
from distmlip.models.interface import EagerStage, Exchange, Halo, LocalGraph, Stage, Swap, Tensors
from distmlip.models.linear_layers import padded_rows, weights_of
from distmlip.models.native import PADDING, Matrix, NativeStage, padded

if TYPE_CHECKING:
    from chgnet.model import CHGNet

BASES = ("bond_basis", "short_basis", "angle_basis")


class NativeBlocks:
    """The native stages of a model."""

    def __init__(self, model: CHGNet, replica: nn.Module, dtype: torch.dtype) -> None:
        """
        ``model``: in float64, whose weights are taken; ``replica``: of it, in the stages' dtype, for what is
        left behind its blocks.

        Raises:
            NotNativeError: a part of the model is of a kind that native stages do not know; so do methods.
        """
        self.model = model
        self.blocks = Blocks(replica)
        self.last = self.blocks.last
        self.is_double = dtype == torch.float64
        self.width = model.atom_fea_dim
        if not self.blocks.updates_bonds:
            raise NotNativeError("its bonds are never updated; native stages are for models that do")
        widths = {self.width, model.bond_fea_dim, model.angle_embedding.out_features}
        if len(widths) > 1 or self.width % PADDING:
            raise NotNativeError(
                f"features of atoms, bonds and angles have {sorted(widths)} numbers; native stages are for "
                f"the same multiple of {PADDING}"
            )

    def stages(self, memoise: bool) -> list[Stage]:
        """``memoise``: evaluate the bases once, and keep them."""
        with torch.no_grad():
            basis = self._basis()
            stages: list[Stage] = [self._block(k, basis, memoise) for k in range(self.last + 1)]
        # What is left is little, and no exchange stands before it.
        stages.insert(self.last, self._eager("magmoms", self._magmoms, ("magmoms",)))
        readout = self._eager("readout", self._readout, ("energy",), ("crystal_fea", "isolated_atoms"))
        derived = NativeStage(
            "derived", writes=BASES, compiled=core.gated_bases(is_double=self.is_double, basis=basis)
        )
        return [*([derived] if memoise else []), *stages, readout]

    def _block(self, k: int, basis: core.BondBasis, memoise: bool) -> NativeStage:
        sends = k < self.last
        n_updates = k if sends and self.blocks.updates_angles else 0
        messages = ("bond_messages", "cut_messages")
        bases = BASES if sends else BASES[:1]
        before: tuple[Exchange, ...] = (Halo("atoms", (self.width,)), Swap("cut_messages", (self.width,)))
        # What angles are updated by, and bonds as the block before left them.
        known = [f"atoms {j}" for j in range(1, n_updates)]
        known += [f"bonds {j}" for j in range(1 if n_updates else max(k - 1, 1), k)]
        kept = self._kept(k)
        return NativeStage(
            name=f"block {k}",
            before=before if k > 0 else (),
            reads=(*(("atoms", *messages, *known) if k > 0 else ()), *(bases if memoise else ())),
            writes=("atoms", *(f"{what} {k}" for what in kept), *(messages if sends else ())),
            computes=("atoms", "edges", *(("bonds", "angles") if sends else ())),
            compiled=self._compiled(k, basis, n_updates, kept),
        )

    def _kept(self, k: int) -> tuple[str, ...]:
        """What later blocks have to know of the beginning of this one."""
        if not 0 < k < self.last:
            return ()
        return ("atoms", "bonds") if k < self.last - 1 and self.blocks.updates_angles else ("bonds",)

    def _compiled(
        self, k: int, basis: core.BondBasis, n_updates: int, kept: tuple[str, ...]
    ) -> core.NativeStage:
        model = self.model
        out = [out_of(layer) for layer in model.bond_conv_layers[:k]]
        update, update_bias = out[-1] if out else (None, [])
        return core.gated_block(
            is_double=self.is_double,
            index=k,
            basis=basis,
            atoms=atom_messages(model.atom_conv_layers[k]),
            bonds=bond_messages(model.bond_conv_layers[k]) if k < self.last else None,
            angles=[angle_update(model.angle_layers[j]) for j in range(n_updates)],
            species=None if out else self._species(),
            update=update,
            update_bias=update_bias,
            embedding_shift=np.sum([bias for _, bias in out], axis=0).tolist() if update_bias else [],
            keeps_atoms="atoms" in kept,
            keeps_bonds="bonds" in kept,
        )

    def _basis(self) -> core.BondBasis:
        model = self.model
        fourier = model.angle_basis_expansion.fourier_expansion
        frequencies = [*fourier.frequencies.tolist(), 0.0]  # of the constant one, whose cosine it is
        n, order = padded(len(frequencies)), fourier.order
        factor = 1 / math.sqrt(math.pi)
        # Its value follows torch's default dtype, as in the model itself.
        constant = float(fourier(torch.zeros(1, dtype=torch.float64))[0, 0])
        weights = weights_of(model.angle_embedding)
        embedding = np.zeros((2 * n, self.width))
        embedding[:order] = weights[1 : order + 1] * factor
        embedding[n : n + order] = weights[order + 1 :] * factor
        embedding[n + order] = weights[0] * constant
        of_bonds = model.bond_basis_expansion.rbf_expansion_ag
        of_short = model.bond_basis_expansion.rbf_expansion_bg
        return core.BondBasis(
            bonds=bessel(of_bonds),
            short_bonds=bessel(of_short),
            angle_frequencies=frequencies,
            bond_embedding=padded_rows(weights_of(model.bond_embedding)),
            bond_weights=padded_rows(weights_of(model.bond_weights_ag)),
            short_weights=padded_rows(weights_of(model.bond_weights_bg)),
            angle_embedding=embedding,
        )

    def _species(self) -> Matrix:
        weight = self.model.atom_embedding.embedding.weight
        return np.concatenate([np.zeros((1, self.width)), weight.numpy()])

    def _eager(
        self,
        name: str,
        function: Callable[[LocalGraph, Tensor], Tensors],
        results: tuple[str, ...],
        system_results: tuple[str, ...] = (),
    ) -> EagerStage:
        return EagerStage(
            name=name,
            function=lambda graph, _, inputs: function(graph, inputs["atoms"]),
            reads=("atoms",),
            results=results,
            system_results=system_results,
            computes=("atoms",),
        )

    def _magmoms(self, _graph: LocalGraph, atoms: Tensor) -> Tensors:
        return {"magmoms": self.blocks.magmoms(atoms)}

    def _readout(self, graph: LocalGraph, atoms: Tensor) -> Tensors:
        return self.blocks.read_out(graph, atoms)
