"""``distmlip plot`` and ``distmlip convert``: what a run has left, for people and for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from distmlip.commands.terminal import errors_in_one_line
from distmlip.errors import RunFolderError

console = Console(highlight=False, markup=False, soft_wrap=True)


def plot(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or a trajectory.")],
    output: Annotated[
        Path | None, typer.Option(help="The picture; plot.png in the folder, if not given.")
    ] = None,
) -> None:
    """Draw energies, temperature, pressure, volume, displacements and distances of a run as PNG."""
    from distmlip import md

    with errors_in_one_line():
        path = output or (run if run.is_dir() else run.parent) / "plot.png"
        figure = md.plot(run)
        try:
            figure.savefig(path, dpi=110, format="png")
        except OSError as error:
            raise RunFolderError(
                f"{path} cannot be written: {error}; give another place by --output"
            ) from error
        console.print(f"{path}")


def convert(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or a trajectory.")],
    output: Annotated[
        Path,
        typer.Argument(
            help=".extxyz or .xyz, .lammpstrj or .dump (LAMMPS), .nc (AMBER), .traj (ASE); for one frame "
            "also what else ASE writes."
        ),
    ],
    frames: Annotated[
        str, typer.Option(help="An index or a slice: -1, ::10; checkpoint: the newest, with velocities.")
    ] = ":",
) -> None:
    """Write a trajectory for other programs: OVITO, VMD, LAMMPS, MDAnalysis."""
    from distmlip import md

    with errors_in_one_line():
        n_frames = md.convert(run, output, frames)
        console.print(f"{output}: {n_frames} frames")
