"""One batched update of many runs. On a GPU a whole update, its draw and its learning rates included, is a CUDA graph.

Draws come in blocks of steps from each member's own generator; a thread prepares the next block meanwhile.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mechxl.config import TrainingConfig
from mechxl.model.members import Members
from mechxl.training.batches import STEPS_A_BLOCK, TrainingBatches
from mechxl.training.device import half_precision, rounded_products
from mechxl.training.late import held, part, weight_decay
from mechxl.training.members import Pulls, tellings
from mechxl.training.pull import Pull
from mechxl.training.schedule import learning_rate
from mechxl.training.state import MOMENTS, Position, State

WARM_UPS = 3  # updates before a graph is captured, as PyTorch's documentation asks for


def optimizer_key(training: TrainingConfig) -> tuple[object, ...]:
    """Members with equal keys have equal rates, betas and weight decay, and share a group of the optimizer."""
    t = training
    return (*(t.schedule, t.decay_share, t.learning_rate, t.warmup_steps, t.betas, t.weight_decay), t.late_weight_decay)


class Stepper:
    """Parameters, optimizer and draws of members that stand at one step.

    Args:
        joined: the members' parameters.
        batches: of each member.
        trainings: each member's settings; members with equal `optimizer_key` stand side by side.
        device: of the parameters.
        states: what each member continues from; None: a new run.
        compiled: whether torch's compiler fuses the loss.
        pulls: the added loss of each member; empty if they have none.
    """

    def __init__(
        self,
        joined: Members,
        batches: Sequence[TrainingBatches],
        trainings: Sequence[TrainingConfig],
        device: str,
        states: Sequence[State | None],
        compiled: bool,
        pulls: Sequence[Pull] = (),
    ) -> None:
        self.joined, self.batches, self.trainings = joined, batches, trainings
        self.device, self.on_gpu = device, device.startswith("cuda")
        self.tellings = tellings(batches, device)
        self.step, self.since = (states[0].position.step, states[0].position.since) if states[0] else (0, 0)
        self.sums = torch.zeros(len(batches), 2, dtype=torch.float64, device=device)
        self.pulls_of, self.pulls = pulls, Pulls.of(pulls, joined.matrix) if pulls else None
        steps, self.batch_size = batches[0].shape
        width = self.batch_size + (pulls[0].width if pulls else 0)
        self.drawn = torch.zeros(len(batches), steps, width, dtype=torch.long, device=device)
        self.block, self.coming = -1, dict[int, "Future[np.ndarray]"]()
        self.threads = ThreadPoolExecutor(1)
        groups = [list(same) for _, same in groupby(trainings, key=optimizer_key)]
        rates = [[learning_rate(group[0], at) for group in groups] for at in range(trainings[0].steps)]
        self.rates = np.array(rates)
        self.decays = np.array([[weight_decay(group[0], at) for group in groups] for at in range(trainings[0].steps)])
        parts = {training.late_frozen for training in trainings} - {"none"}
        self.frozen = [
            (part(joined.weights, name), [row for row, one in enumerate(trainings) if one.late_frozen == name])
            for name in sorted(parts)
        ]
        self.optimizer = self._optimizer(groups)
        self._losses = torch.compile(self.tellings.losses) if compiled else self.tellings.losses
        self.graph = self._captured() if self.on_gpu else None
        self._take_up(states)

    def _optimizer(self, groups: Sequence[Sequence[TrainingConfig]]) -> torch.optim.AdamW:
        """AdamW with the rows of each group as one parameter; on a GPU its rates are tensors that the graph sets."""
        settings, first = [], 0
        for members in groups:
            t, rows = members[0], slice(first, first + len(members))
            parameter = nn.Parameter(self.joined.matrix[rows])
            parameter.grad = self.joined.gradient[rows]
            rate = torch.zeros((), device=self.device) if self.on_gpu else t.learning_rate
            settings.append({"params": [parameter], "lr": rate, "betas": t.betas, "weight_decay": t.weight_decay})
            first = rows.stop
        return torch.optim.AdamW(settings, fused=True, capturable=self.on_gpu)

    def update(self) -> None:
        """One update of every member."""
        block, place = divmod(self.step, STEPS_A_BLOCK)
        if block != self.block:
            self._bring(block)
        if self.graph is not None:
            self.graph.replay()
        else:
            values = (self.rates[self.step].tolist(), self.decays[self.step].tolist())
            for group, rate, decay in zip(self.optimizer.param_groups, *values, strict=True):
                group |= {"lr": rate, "weight_decay": decay}
            with ExitStack() as holding:
                for tensors, rows in self.frozen if self.step >= self.trainings[0].late_step else ():
                    holding.enter_context(held(tensors, rows))
                self._compute(self.drawn[:, place])
        self.step += 1
        self.since += 1

    def take_sums(self) -> tuple[Float[Tensor, "member 2"], int]:
        """The members' summed losses (trained, of answers) since the last call, and of how many updates."""
        sums, since = self.sums.clone(), self.since
        self.sums.zero_()
        self.since = 0
        return sums, since

    def moments(self) -> dict[str, Tensor]:
        """The optimizer's state: `step` (none before any update), and moments with a row for each member."""
        states = [self.optimizer.state[group["params"][0]] for group in self.optimizer.param_groups]
        if not self.step or not all(states):
            return {}
        return {"step": states[0]["step"]} | {name: torch.cat([state[name] for state in states]) for name in MOMENTS}

    def state(self, member: int, matrix: Tensor, moments: dict[str, Tensor], sums: Tensor, position: Position) -> State:
        """A member's own state, from copies of the matrix, the moments and the sums."""
        own = {
            name: value if name == "step" else self.joined.own(value[member], member) for name, value in moments.items()
        }
        return State(position, self.joined.own(matrix[member], member), own, sums[member])

    def close(self) -> None:
        """Ends its thread."""
        self.threads.shutdown(cancel_futures=True)

    def _compute(self, drawn: Int[Tensor, "member drawn"]) -> None:
        precision = self.trainings[0].precision
        with rounded_products(precision):
            with half_precision(precision, self.device):
                losses, answers = self._losses(self.joined, drawn[:, : self.batch_size])
                trained = losses.sum()
                if self.pulls is not None:
                    trained = trained + self.pulls.losses(self.joined, drawn[:, self.batch_size :]).sum()
            self.joined.differentiate(trained)
        self.optimizer.step()
        self.sums += torch.stack([losses.detach(), answers], dim=1)

    def _captured(self) -> "torch.cuda.CUDAGraph":
        """An update as a CUDA graph. It counts steps itself, so that a replay needs nothing from the processor."""
        self.at = torch.zeros(1, dtype=torch.long, device=self.device)
        self.table = torch.zeros(self.rates.shape, device=self.device)  # kept: the graph reads its memory

        def whole() -> None:
            rates = self.table.index_select(0, self.at)[0]
            for number, group in enumerate(self.optimizer.param_groups):
                group["lr"].copy_(rates[number])
            self._compute(self.drawn.index_select(1, self.at % STEPS_A_BLOCK).squeeze(1))
            self.at += 1

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):  # at a rate of 0, which changes no parameter
                whole()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            whole()
        self.table.copy_(torch.as_tensor(self.rates))
        self.at.fill_(self.step)
        self.sums.zero_()
        return graph

    def _take_up(self, states: Sequence[State | None]) -> None:
        """Puts the moments and sums of resumed members into place; those of new ones are 0."""
        first = 0
        for group in self.optimizer.param_groups:
            parameter = group["params"][0]
            moments = self.optimizer.state[parameter]
            saved = states[first]
            if not moments and saved and saved.moments:
                moments |= {name: torch.zeros_like(parameter.data) for name in MOMENTS}
                moments["step"] = torch.zeros((), device=self.device if self.on_gpu else "cpu")
            for value in moments.values():
                value.zero_()
            for row in range(len(parameter)):
                state = states[first + row]
                if state and state.moments:
                    moments["step"].fill_(state.moments["step"].item())
                    for name in MOMENTS:
                        self.joined.put(moments[name][row], first + row, state.moments[name])
                if state:
                    self.sums[first + row] = state.losses.to(self.device)
            first += len(parameter)

    def _bring(self, block: int) -> None:
        """Puts a block's draws on the device, and lets the thread draw the next one."""
        drawn = self.coming.pop(block, None) or self.threads.submit(self._draw, block)
        rows = torch.as_tensor(drawn.result())
        self.drawn.copy_(rows.pin_memory() if self.on_gpu else rows, non_blocking=True)
        self.block = block
        if (block + 1) * STEPS_A_BLOCK < self.trainings[0].steps:
            self.coming[block + 1] = self.threads.submit(self._draw, block + 1)

    def _draw(self, block: int) -> Int[np.ndarray, "member step drawn"]:
        """Each member's sentences, and behind them the prompts of its added loss."""
        parts = [[one.draw(block) for one in each] for each in (self.batches, self.pulls_of) if each]
        return np.concatenate([np.stack(part) for part in parts], axis=2)
