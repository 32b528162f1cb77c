"""Trains a run and then its trained null, as one command: resumed, replaced and interrupted as one run is."""

import shutil
from pathlib import Path

from mechxl.config import RunConfig, differences
from mechxl.errors import InputError
from mechxl.null import null_config, null_place
from mechxl.run import Run
from mechxl.training.loop import train_run


def train_pair(
    config: RunConfig, out: str | Path, *, resume: bool = False, overwrite: bool = False, quiet: bool = False
) -> Run:
    """Trains a run, then the same settings with `world.shared_facts` 0 at OUT-null; returns the run, which has it.

    The run itself is what it is without a null, bit for bit.

    Args:
        config: the settings of the run.
        out: the run's directory.
        resume: continue what was stopped, the run or its null; what is complete stays.
        overwrite: replace both, each as soon as the new one has started.
        quiet: no progress bar and no messages.

    Raises:
        InputError: as `train_run`; nothing is trained if the null can't be.
        KeyboardInterrupt: the user pressed Ctrl-C; everything is saved, and `resume` continues both.
    """
    out, null = Path(out), null_config(config)
    place = null_place(out)
    if not overwrite:
        _refuse_other_settings(null, place, out)
    try:
        run = train_run(config, out, resume=resume, overwrite=overwrite, quiet=quiet)
        train_run(null, place, resume=resume, overwrite=overwrite, quiet=quiet, facts_of=Run(run.path))
    except KeyboardInterrupt as interrupt:
        if overwrite:
            _remove_replaced(null, place)
        told = str(interrupt).partition("; to continue")[0] or "interrupted"
        command = f"python -m mechxl.train --out {out} --resume --with-null"
        raise KeyboardInterrupt(f"{told}; to continue with the run and its null, run {command}") from None
    return Run(run.path)


def _refuse_other_settings(null: RunConfig, place: Path, out: Path) -> None:
    """Refuses before hours of training what would be refused after them."""
    if not (place / "config.toml").is_file():
        return
    if changed := differences(Run(place).config, null):
        listed = ", ".join(f"{name} is {old} there and {new} here" for name, (old, new) in changed.items())
        raise InputError(
            f"{place}: the null of {out} would lie here, but this is a run with other settings: {listed}; move it "
            "away, or replace both with --overwrite"
        )


def _remove_replaced(null: RunConfig, place: Path) -> None:
    """Removes the null of the run that was to be replaced: with other settings it would bar the way to resuming."""
    if (place / "config.toml").is_file() and differences(Run(place).config, null):
        shutil.rmtree(place)
