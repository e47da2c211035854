"""The command line: ``distmlip demo``, ``md``, ``relax``, ``plot``, ``convert``, ``lammps``, ``run``, …"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from distmlip.commands.everyday import md, relax
from distmlip.commands.lammps import lammps
from distmlip.commands.terminal import errors_in_one_line, printable_output, quiet_model_packages
from distmlip.commands.trajectories import convert, plot

app = typer.Typer(
    help="Machine-learning interatomic potentials over many partitions, exactly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)

TIMESTEP = 2.0  # fs
TEMPERATURE = 300.0  # K


@app.command()
@printable_output()
def demo(
    partitions: Annotated[int, typer.Option(min=1, help="How many partitions.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="NVT steps of 2 fs.")] = 20,
    relax_steps: Annotated[int, typer.Option(min=1, help="FIRE steps before that.")] = 5,
    supercell: Annotated[
        tuple[int, int, int], typer.Option(help="Repeats of the 8-atom cell along a, b and c.")
    ] = (3, 3, 8),
    output: Annotated[Path, typer.Option(help="Folder for trajectory and picture.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(help="Seed of the displacements and of the thermostat.")] = 0,
    family: Annotated[str, typer.Option(help="Model family whose package ships weights.")] = "chgnet",
) -> None:
    """Relax LiMnO2 and run NVT under a pretrained model over partitions; compare with the original."""
    from distmlip.commands import demo as job
    from distmlip.commands import report

    quiet_model_packages()
    with errors_in_one_line():
        original = job.pretrained(family)
        atoms = job.rattled_supercell(supercell, seed)
        console.print(
            f"LiMnO2 (mp-18767), {' x '.join(map(str, supercell))} cells, {len(atoms)} atoms, rattled"
        )
        setup = job.prepare(original, atoms, partitions)
        console.print(report.plan_table(setup.plan))
        output.mkdir(parents=True, exist_ok=True)
        trajectory, picture = output / "trajectory.traj", output / "demo.png"
        relaxation, dynamics = job.simulate(
            atoms,
            setup.calculator,
            relax_steps=relax_steps,
            steps=steps,
            temperature=TEMPERATURE,
            timestep=TIMESTEP,
            seed=seed,
            trajectory=trajectory,
        )
        console.print("comparing with the undivided original on the last structure …")
        agreement = job.compare(atoms, setup.calculator, original)
        console.print(report.agreement_table(agreement, type(original).__name__))
        figure = report.draw(setup.start, setup.cut, relaxation, dynamics, TIMESTEP, TEMPERATURE)
        report.save(figure, picture)
    console.print(f"trajectory  {trajectory}  ({relaxation.n_steps} FIRE + {dynamics.n_steps} NVT steps)")
    console.print(f"picture     {picture}")


# As with `python`: all that follows the script is the script's.
@app.command(context_settings={"allow_interspersed_args": False})
def run(
    script: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A Python script.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="All that follows is the script's.")] = None,
    ranks: Annotated[
        int,
        typer.Option("--ranks", "-n", min=0, help="Start so many processes here; 0: torchrun has done it."),
    ] = 0,
) -> None:
    """Run an unchanged ASE script on rank 0; the other ranks serve its calculators.

    Options stand before the script: distmlip run -n 4 script.py --its-own-option

    With torchrun, on one machine or several: torchrun --nproc-per-node 4 -m distmlip run script.py
    """
    from distmlip.commands.launch import launch, run_script

    if ranks > 0:
        raise typer.Exit(launch(ranks, ["run", "--", str(script), *(arguments or [])]))
    run_script(script, arguments or [])


app.command(name="md")(printable_output()(md))
app.command(name="relax")(printable_output()(relax))
app.command(name="plot")(printable_output()(plot))
app.command(name="convert")(printable_output()(convert))
app.command(name="lammps")(printable_output()(lammps))


@app.command()
@printable_output()
def doctor() -> None:
    """Say what is installed, what works, and how to get the rest."""
    from distmlip.commands.doctor import examine, findings_table

    quiet_model_packages()
    console.print(findings_table(examine()))
