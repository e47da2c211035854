"""Trajectories for other programs: extended XYZ, dumps of LAMMPS, NetCDF of AMBER, and what ASE writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from os import PathLike
from pathlib import Path

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.formats import string2index

from distmlip.errors import InvalidInputError, RunFolderError
from distmlip.md.checkpoints import newest_checkpoint
from distmlip.md.folder import TRAJECTORY
from distmlip.md.formats import WRITERS, Append, any_other
from distmlip.md.frames import read
from distmlip.md.progress import progress_bar
from distmlip.md.state import atoms_in

CHECKPOINT = "checkpoint"


def convert(run: str | PathLike[str], output: str | PathLike[str], frames: int | slice | str = ":") -> int:
    """Write frames of a run's folder, or of its trajectory, in the format that the ending of ``output`` says.

    Args:
        run: a folder, or a ``trajectory.h5``; a run that still goes on, too.
        output: ``.xyz`` or ``.extxyz``; ``.lammpstrj`` or ``.dump`` (LAMMPS, as text); ``.nc`` (AMBER, needs
            the package netCDF4); ``.traj`` (ASE); for one frame also what else ASE writes.
        frames: which, as an index, a slice, or as such in text (``"-1"``, ``"::10"``); ``"checkpoint"``: the
            state of the folder's newest checkpoint, with velocities, to begin another run with.

    Returns:
        How many were written.

    Raises:
        InvalidInputError: ``output`` is there already or has no known ending, or there are no such frames.
        RunFolderError: the trajectory cannot be read, or ``output`` not be written.
    """
    source, path = Path(run), Path(output)
    with _frames_of(source, frames) as (found, chosen):
        if path.exists():
            raise InvalidInputError(f"{path} is there already; give another name")
        draft = path.with_name(f".new.{path.name}")
        try:
            with (
                _writer(path, draft, found[chosen[0]], len(chosen)) as append,
                progress_bar(len(chosen), "convert", unit="frame") as show,
            ):
                for done, k in enumerate(chosen, 1):
                    append(found[k])
                    show(done, path.name)
            draft.replace(path)
        except RunFolderError:
            raise  # of the trajectory
        except (OSError, UnicodeError) as error:
            raise RunFolderError(f"{path} cannot be written: {error}; give another place") from error
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
    return len(chosen)


@contextmanager
def _frames_of(source: Path, frames: int | slice | str) -> Iterator[tuple[Sequence[Atoms], range]]:
    """All there are, and which of them are meant."""
    if frames == CHECKPOINT:
        checkpoint, _ = newest_checkpoint(source)
        atoms = atoms_in(checkpoint)
        atoms.calc = SinglePointCalculator(atoms)
        yield [atoms], range(1)
        return
    with read(source / TRAJECTORY if source.is_dir() else source) as found:
        yield found, _chosen(frames, len(found))


def _chosen(frames: int | slice | str, n_frames: int) -> range:
    try:
        index = string2index(frames) if isinstance(frames, str) else frames
        chosen = range(n_frames)[index]
    except (ValueError, IndexError, TypeError) as error:
        raise InvalidInputError(
            f"frames={frames!r} of {n_frames}: {error}; give an index or a slice, such as -1 or ::10"
        ) from None
    chosen = range(chosen, chosen + 1) if isinstance(chosen, int) else chosen
    if len(chosen) == 0:
        raise InvalidInputError(f"frames={frames!r} are none of {n_frames}; give others")
    return chosen


def _writer(path: Path, draft: Path, first: Atoms, n_frames: int) -> AbstractContextManager[Append]:
    if path.suffix.lower() in WRITERS:
        return WRITERS[path.suffix.lower()](draft, first)
    if n_frames > 1:
        raise InvalidInputError(
            f"{path.name} for {n_frames} frames; several go into {', '.join(WRITERS)}, one (frames=-1) also "
            "into the other formats of ASE"
        )
    return any_other(draft, path.name)
