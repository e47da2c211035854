"""Communication: the formulas of docs/scaling.md beside what is measured, and what they say of many GPUs.

    python benchmarks/bench_scaling.py            some minutes on 2 cores

Halos are counted in graphs of water; exchanges are timed between ranks of torch's Gloo on this machine, each
of which sends what a plan says. Writes benchmarks/results/scaling.json and docs/scaling.png, prints tables.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import bench_coupling
import matplotlib.pyplot as plt
import numpy as np
import torch
from ase import Atoms
from harness import RESULTS, Facts, command_line, in_ranks, machine, write
from matplotlib.axes import Axes
from models import MODELS
from result_tables import table
from scaling_model import HALOS, Family, Network, System, exchange_seconds, shell_rows, step_seconds
from structures import water

from distmlip import partition
from distmlip.models import adapter_for
from distmlip.models.interface import AllSum, Halo

PICTURE = Path(__file__).parents[1] / "docs" / "scaling.png"
MICROSECONDS = {
    "mace": 30.0,
    "chgnet": 20.0,
}  # per atom and step on one GPU: assumed, what the project aims at
TITLES = {"mace": "MACE medium", "chgnet": "CHGNet"}
# One direction, per GPU: NVLink 4 of H100 and H200, 18 links of 25 GB/s; one NDR port of 400 Gb/s per GPU.
NETWORKS = [Network("NVLink", 450e9, 20e-6), Network("InfiniBand", 50e9, 40e-6)]
DENSITY = 0.1  # atoms/Å^3: water, most oxides
STRONG, WEAK = 1_000_000, 125_000
MANY_ATOMS, MANY_DEVICES = 10**8, [64, 128, 256, 512]
DEVICES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
SHELLS = [
    Family("MACE medium", 6.0, (512,), (), 0.0),
    Family("TensorNet", 5.0, (1152,) * 2, (), 0.0),
    Family("M3GNet", 5.0, (73,) * 2, (), 0.0),
    Family("MatterSim 1M", 5.0, (128,) * 2, (), 0.0),
    Family("CHGNet", 6.0, (64,) * 3, (64,) * 3, 3.0),
    Family("NequIP, 4 layers", 6.0, (480,) * 3, (), 0.0),
    Family("eSEN sm", 6.0, (1152,) * 4, (), 0.0),
    Family("SevenNet-0", 5.0, (480,) * 4, (), 0.0),
    Family("Orb v3", 6.0, (512,) * 5, (), 0.0),
]
"""What stages declare, of families of both environments."""
OF_PARTITION = [10**3, 10**4, 10**5, 10**6]  # atoms
COLOURS = {"NVLink": "#0072B2", "InfiniBand": "#D55E00"}
LINES = {"slab": ":", "bisection": "-"}


def main() -> None:
    """Run what the command line asks for."""
    parser = command_line(__doc__)
    parser.add_argument("--atoms", type=int, default=98_304, help="of the water whose halos are counted")
    parser.add_argument("--partitions", nargs="+", type=int, default=[2, 8, 16, 64])
    parser.add_argument("--ranks", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--widths", nargs="+", type=int, default=[64, 512], help="numbers per row")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS / "scaling.json")
    parser.add_argument(
        "--coupling", type=Path, default=bench_coupling.OUTPUT, help="what bench_coupling.py wrote"
    )
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    families = [family_of(name) for name in MICROSECONDS]
    atoms = water(arguments.atoms)
    results = {
        "machine": machine(),
        "halos": [count_halos(atoms, p) for p in arguments.partitions],
        "exchanges": [
            time_exchange(atoms, ranks, width, arguments.rounds)
            for ranks in arguments.ranks
            for width in arguments.widths
        ],
        "families": [vars(family) for family in families],
        "networks": [vars(network) for network in NETWORKS],
        "extrapolated": extrapolate(families),
        "shells": [shells(family) for family in SHELLS],
        "many": many_atoms(arguments.coupling),
    }
    write(arguments.output, results)
    draw(families).savefig(arguments.picture, dpi=130, facecolor="white")
    print(as_markdown(results))


def family_of(name: str) -> Family:
    """Exchanges as the adapter's stages declare them; the time of an atom is assumed."""
    adapter = adapter_for(MODELS[name](), torch.float32)
    stages = adapter.stages(adapter.replicate(0, torch.device("cpu")), recompute=False)
    exchanges = [
        exchange for stage in stages for exchange in stage.before if not isinstance(exchange, AllSum)
    ]
    widths = [
        [int(np.prod(e.width)) for e in exchanges if isinstance(e, Halo) == halo] for halo in (True, False)
    ]
    return Family(
        TITLES[name],
        adapter.cutoff,
        tuple(widths[0]),
        tuple(widths[1]),
        adapter.bond_cutoff or 0.0,
        1e-6 * MICROSECONDS[name],
    )


def count_halos(atoms: Atoms, n_partitions: int, cutoff: float = 6.0) -> Facts:
    """Halo atoms per partition: the mean over partitions of real cuts, and the formula's."""
    system = System(len(atoms), len(atoms) / atoms.get_volume())
    row: Facts = {"n_atoms": len(atoms), "n_partitions": n_partitions, "cutoff": cutoff}
    for method, halo in HALOS.items():
        parts = partition(atoms, cutoff, n_partitions, method=method).parts
        row[method] = statistics.fmean(len(part.halo) for part in parts)
        row[f"{method}, formula"] = halo(system, n_partitions, cutoff)
    return row


def time_exchange(atoms: Atoms, n_ranks: int, width: int, rounds: int, cutoff: float = 6.0) -> Facts:
    """Seconds of one all-to-all of halo rows between Gloo ranks of this machine, slabs."""
    parts = partition(atoms, cutoff, n_ranks, method="slab").parts
    counts = [[len(part.recv[q]) for q in range(n_ranks)] for part in parts]
    seconds = in_ranks(n_ranks, _exchange, counts=counts, width=width, rounds=rounds)[0]
    received = max(sum(row) for row in counts) * width * 4
    return {"n_ranks": n_ranks, "width": width, "bytes": received, "seconds": statistics.median(seconds)}


def _exchange(counts: list[list[int]], width: int, rounds: int) -> list[float]:
    torch.set_num_threads(1)
    distributed = torch.distributed
    rank = distributed.get_rank()
    receive, send = counts[rank], [row[rank] for row in counts]
    rows, halo = torch.ones(sum(send), width), torch.empty(sum(receive), width)
    taken = []
    for _ in range(rounds + 2):
        distributed.barrier()
        start = time.perf_counter()
        distributed.all_to_all_single(halo, rows, receive, send)
        taken.append(time.perf_counter() - start)
    distributed.barrier()
    return taken[2:]


def shells(family: Family) -> Facts:
    """Rows that shells which grow with each layer compute, over rows that are needed; and what a row of one
    stage may take for that to cost no more than the exchange through InfiniBand; by atoms of a partition."""
    row: Facts = {"family": family.name, "stages": family.n_stages, "cutoff": family.cutoff}
    for own in OF_PARTITION:
        system, devices = System(own * MANY_DEVICES[-1], DENSITY), MANY_DEVICES[-1]
        needed = own * family.n_stages
        computed = shell_rows(family, system, devices)
        seconds = exchange_seconds(family, system, devices, "bisection", NETWORKS[-1])
        row[f"rows at {own}"] = computed / needed
        row[f"even at {own}, s"] = seconds / (computed - needed)
    return row


def many_atoms(path: Path) -> list[Facts]:
    """What a rank holds, and seconds of a step that its driver takes, for many atoms on many GPUs, by what
    bench_coupling.py measured: memory in the two runs with most ranks, seconds with one; 512 B an atom."""
    measured = json.loads(path.read_text())["cases"]
    cases = [case for case in measured if case["kind"] == "ranks"]
    driver_us = {
        case["driver"]: case["cpu_us"]["driver"]
        for case in measured
        if case["kind"] == "overhead" and case["n_ranks"] == 1
    }
    rows = []
    for driver in bench_coupling.DRIVERS:
        of_driver = [case for case in cases if case["driver"] == driver]
        fewer, more = of_driver[-2:]
        grown = 1e6 * (more["growth_mb"] - fewer["growth_mb"]) / (more["n_atoms"] - fewer["n_atoms"])
        of_other = max(grown, 0.0)
        own = fewer["n_atoms"] / fewer["n_ranks"]
        of_own = 1e6 * fewer["growth_mb"] / own - of_other * (fewer["n_ranks"] - 1)
        for devices in MANY_DEVICES:
            share = MANY_ATOMS / devices
            steps = MANY_ATOMS if driver == "ASE" else share  # on each rank
            rows.append(
                {
                    "driver": driver,
                    "devices": devices,
                    "bytes per own atom": of_own,
                    "bytes per other atom": of_other,
                    "bytes": of_own * share + of_other * (MANY_ATOMS - share),
                    "driver, s": 1e-6 * driver_us[driver] * steps,
                }
            )
    return rows


def extrapolate(families: list[Family]) -> list[Facts]:
    """One system on more and more devices, and systems that grow with them; bisection."""
    rows = []
    for family in families:
        for network in NETWORKS:
            for devices in (8, 64, 512):
                row: Facts = {"family": family.name, "network": network.name, "devices": devices}
                for kind, system in _systems(devices).items():
                    seconds = step_seconds(family, system, devices, "bisection", network)
                    row[f"{kind}, s"] = seconds
                    row[f"{kind}, share"] = (
                        exchange_seconds(family, system, devices, "bisection", network) / seconds
                    )
                    row[f"{kind}, efficiency"] = _efficiency(family, kind, devices, "bisection", network)
                rows.append(row)
    return rows


def _systems(devices: int) -> dict[str, System]:
    return {"strong": System(STRONG, DENSITY), "weak": System(WEAK * devices, DENSITY)}


def _efficiency(family: Family, kind: str, devices: int, method: str, network: Network) -> float:
    one = step_seconds(family, _systems(1)[kind], 1, method, network)
    many = step_seconds(family, _systems(devices)[kind], devices, method, network)
    return one / many / (devices if kind == "strong" else 1)


def draw(families: list[Family]) -> plt.Figure:
    """Efficiency by number of devices: a row per family, strong and weak."""
    plt.rcParams.update({"font.size": 9})
    figure, axes = plt.subplots(
        len(families), 2, figsize=(9, 6), layout="constrained", sharex=True, sharey=True
    )
    titles = {"strong": f"strong: {STRONG:,} atoms", "weak": f"weak: {WEAK:,} atoms per GPU"}
    for row, family in zip(axes, families, strict=True):
        for panel, kind in zip(row, titles, strict=True):
            for network in NETWORKS:
                for method, line in LINES.items():
                    values = [_efficiency(family, kind, d, method, network) for d in DEVICES]
                    label = f"{network.name}, {method}"
                    panel.plot(DEVICES, values, line, color=COLOURS[network.name], label=label, lw=1.8)
            panel.set_title(f"{family.name}, {titles[kind]}", loc="left", fontsize=10)
            _finish(panel)
        row[0].set_ylabel("parallel efficiency")
    for panel in axes[-1]:
        panel.set_xlabel("GPUs")
    axes[0, 0].legend(frameon=False)
    return figure


def _finish(panel: Axes) -> None:
    panel.set_xscale("log", base=2)
    panel.set_xticks(DEVICES, [str(d) for d in DEVICES])
    panel.set_ylim(0, 1.05)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def gloo(exchanges: list[Facts]) -> tuple[float, float]:
    """Latency (s) and bandwidth (bytes/s), fitted to the exchanges between the fewest ranks."""
    fewest = min(row["n_ranks"] for row in exchanges)
    rows = [row for row in exchanges if row["n_ranks"] == fewest]
    if len(rows) < 2:
        return 0.0, rows[0]["bytes"] / rows[0]["seconds"]
    slope, start = np.polyfit([row["bytes"] for row in rows], [row["seconds"] for row in rows], 1)
    return max(float(start), 0.0), 1 / float(slope)


def as_markdown(results: Facts) -> str:
    """The tables of docs/scaling.md."""
    halos = [
        [str(row["n_partitions"]), *(f"{row[m]:,.0f} ({row[f'{m}, formula']:,.0f})" for m in HALOS)]
        for row in results["halos"]
    ]
    latency, bandwidth = gloo(results["exchanges"])
    exchanges = [
        [
            str(row["n_ranks"]),
            str(row["width"]),
            f"{row['bytes'] / 1e6:.1f}",
            f"{1e3 * row['seconds']:.1f}",
            f"{1e3 * (latency + row['bytes'] / bandwidth):.1f}",
        ]
        for row in results["exchanges"]
    ]
    shells = [
        [
            row["family"],
            f"{row['stages']}, {row['cutoff']:.0f} Å",
            *(f"{row[f'rows at {own}']:.3g}" for own in OF_PARTITION),
            *(f"{1e6 * row[f'even at {own}, s']:.2g}" for own in (OF_PARTITION[0], OF_PARTITION[-1])),
        ]
        for row in results["shells"]
    ]
    many = [
        [
            str(row["devices"]),
            row["driver"],
            f"{row['bytes per own atom']:,.0f}",
            f"{row['bytes per other atom']:,.0f}",
            f"{row['bytes'] / 1e9:.3g}",
            f"{row['driver, s']:.2g}",
        ]
        for row in results["many"]
    ]
    kinds = ("strong", "weak")
    extrapolated = [
        [
            row["family"],
            row["network"],
            str(row["devices"]),
            *(
                f"{row[f'{kind}, s']:.3g} s, {row[f'{kind}, share']:.0%}, {row[f'{kind}, efficiency']:.0%}"
                for kind in kinds
            ),
        ]
        for row in results["extrapolated"]
    ]
    return "\n\n".join(
        [
            table(["partitions", *HALOS], halos),
            table(["ranks", "numbers per row", "MB received", "ms", "ms, formula"], exchanges),
            table(["model", "network", "GPUs", *kinds], extrapolated),
            table(["model", "stages, cutoff", *(f"{own:,}" for own in OF_PARTITION), "µs", "µs"], shells),
            table(["ranks", "driver", "B per own atom", "B per other", "GB of a rank", "driver, s"], many),
        ]
    )


if __name__ == "__main__":
    main()
