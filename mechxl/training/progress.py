"""The output of a training: a progress bar on stderr if that is a terminal, and one line on stdout at the end."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """A progress bar with loss, recall, transfer and time left.

    Args:
        name: of what is trained: the run's directory.
        steps: steps of the whole training.
        done: steps that are done already.
        quiet: print nothing.
    """

    def __init__(self, name: str, steps: int, done: int, quiet: bool) -> None:
        self.name, self.steps, self.quiet = name, steps, quiet
        console = Console(stderr=True)
        shown = (console.is_terminal or console.is_jupyter) and not quiet
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  recall {task.fields[recall]}  transfer {task.fields[transfer]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not shown,
        )
        self.task = self.bar.add_task(name, total=steps, completed=done, loss="-", recall="-", transfer="-")

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def advance(self, step: int) -> None:
        """Moves the bar to a step."""
        self.bar.update(self.task, completed=step)

    def show(self, step: int, row: dict[str, Any]) -> None:
        """Moves the bar to a step and shows the step's row of metrics."""
        self.bar.update(
            self.task,
            completed=step,
            loss=_short(row["loss"]),
            recall=_short(row["recall_accuracy"]),
            transfer=_short(row["transfer_accuracy"]),
        )

    def summary(self, row: dict[str, Any], seconds: float) -> None:
        """Prints the result in one line on stdout."""
        if self.quiet:
            return
        rates = ", ".join(
            f"{kind} {_short(row[f'{kind}_accuracy'])} (n {row[f'{kind}_n']:,})" for kind in ("recall", "transfer")
        )
        print(f"{self.name}: {self.steps:,} steps in {seconds:.0f} s; loss {_short(row['loss'])}, {rates}")


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
