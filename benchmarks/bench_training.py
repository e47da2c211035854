"""One training step of DistModel beside the undivided model's: CPU seconds, peak memory, gradients.

    OMP_NUM_THREADS=1 python benchmarks/bench_training.py --families chgnet mace        about ten minutes

A step is a prediction, a loss of energy, forces and stress, and its backward into the parameters, in float32.
The undivided model is given its graph; DistModel makes it in every step. Each variant runs in a process of
its own, which gives the growth of the peak RSS above the loaded model in the first step, the median seconds
of those after the second, and the norm of the gradient, which is the same for all but for rounding.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from ase import Atoms
from harness import RESULTS, Facts, apart, command_line, machine, write
from memory import peak_rss
from models import MODELS
from structures import SUPERCELLS, supercell
from torch import Tensor

from distmlip import DistModel

Predict = Callable[[], tuple[Tensor, Tensor, Tensor | None]]
VARIANTS: dict[str, int | None] = {"undivided": None, "P=1": 1, "P=2": 2, "P=4": 4, "P=8": 8}
"""Number of partitions; None: the model's own forward."""
WARM_UP_ROUNDS = 2


def main() -> None:
    """Run what the command line asks for."""
    parser = command_line(__doc__)
    parser.add_argument("--families", nargs="+", choices=list(UNDIVIDED), default=list(UNDIVIDED))
    parser.add_argument("--size", type=int, choices=list(SUPERCELLS), default=128)
    parser.add_argument("--repeats", type=int, default=3, help="measured rounds")
    arguments = parser.parse_args()
    for family in arguments.families:
        results: Facts = {"machine": machine(), "family": family, "n_atoms": arguments.size}
        for variant in VARIANTS:
            options = {"size": arguments.size, "variant": variant, "repeats": arguments.repeats}
            results[variant] = apart(measure, family=family, **options)
            print(f"{family} {arguments.size} {variant}: {results[variant]}")
        write(RESULTS / f"training_{family}.json", results)


def measure(family: str, size: int, variant: str, repeats: int) -> Facts:
    """One variant: the first step's memory, the last steps' seconds, the gradient's norm."""
    model, atoms, partitions = MODELS[family](), supercell(SUPERCELLS[size]), VARIANTS[variant]
    if partitions is None:
        predict = UNDIVIDED[family](model, atoms)
    else:
        predict = partial(DistModel(model, partitions=partitions), atoms)
    model.eval().requires_grad_()
    with peak_rss() as growth:
        _step(model, predict)
    seconds = [_step(model, predict) for _ in range(WARM_UP_ROUNDS - 1 + repeats)][-repeats:]
    gradients = [parameter.grad.double() for parameter in model.parameters() if parameter.grad is not None]
    return {
        "seconds": round(statistics.median(seconds), 3),
        "memory_mb": round(growth[0] / 1e6, 1),
        "gradient_norm": float(torch.stack([gradient.norm() for gradient in gradients]).norm()),
    }


def _step(model: torch.nn.Module, predict: Predict) -> float:
    start = time.process_time()
    model.zero_grad()
    energy, forces, stress = predict()
    assert stress is not None
    (energy.square() / len(forces) ** 2 + forces.square().mean() + 100 * stress.square().mean()).backward()
    return time.process_time() - start


def _chgnet(model: torch.nn.Module, atoms: Atoms) -> Predict:
    from pymatgen.io.ase import AseAtomsAdaptor

    graph = model.graph_converter(AseAtomsAdaptor.get_structure(atoms))

    def predict() -> tuple[Tensor, Tensor, Tensor | None]:
        out = model([graph], task="efs")
        return out["e"][0] * len(atoms), out["f"][0], out["s"][0] / 160.21766208

    return predict


def _mace(model: torch.nn.Module, atoms: Atoms) -> Predict:
    from mace.calculators import MACECalculator

    batch = MACECalculator(models=[model], device="cpu", default_dtype="float32")._atoms_to_batch(atoms)

    def predict() -> tuple[Tensor, Tensor, Tensor | None]:
        out = model(batch.clone().to_dict(), training=True, compute_stress=True)
        return out["energy"][0], out["forces"], out["stress"][0]

    return predict


UNDIVIDED: dict[str, Callable[[torch.nn.Module, Atoms], Predict]] = {"chgnet": _chgnet, "mace": _mace}


if __name__ == "__main__":
    main()
