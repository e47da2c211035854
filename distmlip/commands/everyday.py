"""``distmlip md`` and ``distmlip relax``: a structure, a model by its name, a folder for what comes out."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from ase import Atoms
from ase.io import read
from rich.console import Console

from distmlip.commands.terminal import errors_in_one_line, quiet_model_packages
from distmlip.errors import InvalidInputError
from distmlip.models.named import EXAMPLES

console = Console(highlight=False, markup=False, soft_wrap=True, stderr=True)
NOT_FOR_COMMANDS = frozenset({"command"})
"""Entries of a run's config.toml that are no options."""


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take options from a TOML file, or from the config.toml of another run; those of the line go first."""
    if path is None:
        return None
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error
    options = content.get("options", content)
    if not isinstance(options, dict):
        raise typer.BadParameter(f"{path} has options={options!r}, which is no table of options")
    known = {of.name for of in context.command.params} | NOT_FOR_COMMANDS
    if unknown := sorted(options.keys() - known):
        raise typer.BadParameter(f"{path} has {', '.join(unknown)}; this command has no such options")
    context.default_map = {**(context.default_map or {}), **options}
    return path


Structure = Annotated[Path, typer.Argument(help="A structure, in any format that ASE reads.")]
ModelName = Annotated[str, typer.Option(help=EXAMPLES)]
Output = Annotated[Path, typer.Option(help="A new folder for trajectory, checkpoints and log.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
Config = Annotated[
    Path | None,
    typer.Option(callback=read_config, is_eager=True, help="TOML file with any of these options."),
]
Ranks = Annotated[
    int, typer.Option("--ranks", "-n", min=0, help="Start so many processes here; not under torchrun.")
]
Partitions = Annotated[str, typer.Option(help="How many, or auto.")]
DType = Annotated[str | None, typer.Option(help="float32 or float64; else the model's own.")]
Kernels = Annotated[str, typer.Option(help="auto, fused or original.")]
Devices = Annotated[str, typer.Option(help="auto, cpu, cuda:0, ...")]
Skin = Annotated[float, typer.Option(help="Ang; the neighbour list is kept until atoms have moved by that.")]
Supercell = Annotated[tuple[int, int, int], typer.Option(help="Repeats of the structure along a, b and c.")]
FramesEvery = Annotated[int, typer.Option(min=1, help="Steps between frames of the trajectory.")]
CheckpointEvery = Annotated[int, typer.Option(min=1, help="Steps between checkpoints; a minute at least.")]
MaxTime = Annotated[float | None, typer.Option(help="s, after which the run ends; go on with --resume.")]


def md(
    structure: Structure,
    model: ModelName,
    output: Output,
    steps: Annotated[int, typer.Option(min=0, help="In all, with those before a resume.")],
    ensemble: Annotated[str, typer.Option(help="nve, nvt or npt.")] = "nve",
    thermostat: Annotated[str | None, typer.Option(help="langevin, bussi or nose-hoover.")] = None,
    temperature: Annotated[float | None, typer.Option(help="K, also of the first velocities.")] = None,
    pressure: Annotated[float | None, typer.Option(help="GPa, of npt.")] = None,
    shape: Annotated[
        bool, typer.Option("--shape", help="Of npt: change the shape of the cell, too, not its volume alone.")
    ] = False,
    timestep: Annotated[float, typer.Option(help="fs")] = 1.0,
    time_constant: Annotated[float | None, typer.Option(help="fs, of the thermostat.")] = None,
    pressure_time_constant: Annotated[float | None, typer.Option(help="fs, of the barostat.")] = None,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 0,
    resume: Resume = False,
    frames_every: FramesEvery = 100,
    velocities: Annotated[bool, typer.Option("--velocities", help="Write them, too.")] = False,
    forces: Annotated[bool, typer.Option("--forces", help="Write them, too.")] = False,
    precision: Annotated[str, typer.Option(help="Of the trajectory: float32 or float64.")] = "float32",
    compression: Annotated[
        str, typer.Option(help="Of the trajectory: lzf, or gzip, which is slower and more widely known.")
    ] = "lzf",
    checkpoint_every: CheckpointEvery = 10,
    max_time: MaxTime = None,
    max_drift: Annotated[
        float, typer.Option(min=0, help="eV/atom, of the conserved energy, that stops the run; 0: none does.")
    ] = 0.1,
    supercell: Supercell = (1, 1, 1),
    partitions: Partitions = "auto",
    dtype: DType = None,
    kernels: Kernels = "auto",
    devices: Devices = "auto",
    skin: Skin = 0.5,
    ranks: Ranks = 0,
    config: Config = None,  # noqa: ARG001  read_config has taken what it says
) -> None:
    """Run molecular dynamics: trajectory, checkpoints, and an end that can be gone on from.

    Exit codes: 0 done, 3 stopped because of what was seen, 75 its time is up, 76 a file STOP in the folder,
    130 Ctrl-C, 143 SIGTERM; after the last four --resume goes on. 1: an error.
    """
    from distmlip.md import run

    calculator = calculator_options(partitions, dtype, kernels, devices, skin)
    about, resumes = _about(structure, model, supercell, calculator), _resumes(resume, output)
    _simulate(
        ranks,
        lambda: _prepared(structure, supercell, model, calculator),
        lambda atoms: run(
            atoms,
            steps,
            output=output,
            resume=resumes,
            frames_every=frames_every,
            velocities=velocities,
            forces=forces,
            precision=precision,
            compression=compression,
            checkpoint_every=checkpoint_every,
            max_time=max_time,
            max_drift=max_drift or None,
            about=about,
            ensemble=ensemble,
            thermostat=thermostat,
            temperature=temperature,
            pressure=pressure,
            shape=shape,
            timestep=timestep,
            time_constant=time_constant,
            pressure_time_constant=pressure_time_constant,
            seed=seed,
        ),
        output,
    )


def relax(
    structure: Structure,
    model: ModelName,
    output: Output,
    steps: Annotated[int, typer.Option(min=0, help="The most, with those before a resume.")] = 500,
    fmax: Annotated[float, typer.Option(help="eV/Ang, largest force at the end.")] = 0.05,
    cell: Annotated[bool, typer.Option("--cell", help="Relax the cell, too.")] = False,
    resume: Resume = False,
    frames_every: FramesEvery = 10,
    checkpoint_every: CheckpointEvery = 10,
    max_time: MaxTime = None,
    supercell: Supercell = (1, 1, 1),
    partitions: Partitions = "auto",
    dtype: DType = None,
    kernels: Kernels = "auto",
    devices: Devices = "auto",
    skin: Skin = 0.5,
    ranks: Ranks = 0,
    config: Config = None,  # noqa: ARG001  read_config has taken what it says
) -> None:
    """Relax a structure with FIRE; the result is also written as relaxed.extxyz.

    Exit codes are those of distmlip md; 4: all steps were taken before forces were small enough.
    """
    from distmlip import md

    calculator = calculator_options(partitions, dtype, kernels, devices, skin)
    about, resumes = _about(structure, model, supercell, calculator), _resumes(resume, output)

    def work(atoms: Atoms) -> md.History:
        history = md.relax(
            atoms,
            steps,
            fmax=fmax,
            cell=cell,
            output=output,
            resume=resumes,
            frames_every=frames_every,
            checkpoint_every=checkpoint_every,
            max_time=max_time,
            about=about,
        )
        atoms.write(output / "relaxed.extxyz")
        return history

    _simulate(ranks, lambda: _prepared(structure, supercell, model, calculator), work, output)


def _simulate(ranks: int, prepare: Any, work: Any, output: Path) -> None:
    """On all ranks, or on those that are started for it; ends the command with the run's exit code."""
    from distmlip.commands.launch import launch, leads
    from distmlip.md import Ending
    from distmlip.ranks.identity import identity_of_this_process

    quiet_model_packages()
    with errors_in_one_line():
        if ranks > 0 and identity_of_this_process() is None:
            raise typer.Exit(launch(ranks, sys.argv[1:]))
        if not leads():
            return
        try:
            history = work(prepare())
        except KeyboardInterrupt as error:
            console.print("; ".join([f"{output}: interrupted at once", *getattr(error, "__notes__", [])]))
            raise typer.Exit(int(Ending.INTERRUPTED)) from error
        ending = history.ending
        console.print(f"{output}: {history.trouble or ending.in_words}")
        if ending.goes_on:
            console.print("the same command with --resume goes on from here")
    raise typer.Exit(int(ending))


def _prepared(
    structure: Path, supercell: tuple[int, int, int], model: str, calculator: Mapping[str, Any]
) -> Atoms:
    from distmlip.calculator import DistCalculator
    from distmlip.models.named import named_model

    try:
        atoms = read(structure)
    except Exception as error:  # whatever readers of a hundred formats raise
        raise InvalidInputError(
            f"{structure} cannot be read: {error or type(error).__name__}; give a structure that ASE reads"
        ) from error
    if min(supercell) < 1:
        raise InvalidInputError(f"supercell={' '.join(map(str, supercell))}; give numbers from 1")
    atoms = atoms.repeat(supercell)
    atoms.calc = DistCalculator(named_model(model), **calculator)
    return atoms


def calculator_options(
    partitions: str, dtype: str | None, kernels: str, devices: str, skin: float
) -> dict[str, Any]:
    """As a calculator takes them."""
    return {
        "partitions": int(partitions) if partitions.isdigit() else partitions,
        "dtype": dtype,
        "kernels": kernels,
        "devices": devices,
        "skin": skin,
    }


def _about(
    structure: Path, model: str, supercell: tuple[int, int, int], calculator: Mapping[str, Any]
) -> dict[str, Any]:
    """What is kept with a run, as the options are given."""
    given = {
        "structure": str(structure.resolve()),
        "model": model,
        "supercell": list(supercell),
        **calculator,
    }
    return {**given, "partitions": str(calculator["partitions"])}


def _resumes(asked: bool, output: Path) -> bool:
    """Torchrun starts all ranks again when one was lost: then the run goes on by itself."""
    is_restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    return asked or (is_restart and output.exists())
