"""What is done behind a training: rows and files are made in threads, while the GPU goes on.

On the CPU nothing runs behind: there is nothing to wait for, and a run stays the same from one time to the next.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from mechxl.errors import Failure, InputError

PENDING = 3  # jobs that may wait: copies of parameters take memory
WORKERS = 4  # threads that share the members of one job


class Behind:
    """Jobs in the order in which they are submitted. Use it as a context.

    Args:
        device: of the training.
    """

    def __init__(self, device: str) -> None:
        self.on_gpu = device.startswith("cuda")
        self.order, self.shared = ThreadPoolExecutor(1), ThreadPoolExecutor(WORKERS)
        self.pending: deque[Future[None]] = deque()

    def __enter__(self) -> "Behind":
        return self

    def __exit__(self, *_: object) -> None:
        self.order.shutdown()
        self.shared.shutdown()

    def submit(self, job: Callable[..., None], *tensors: Tensor) -> None:
        """Calls `job` with copies of the tensors as they are now, on the CPU; waits if too many jobs do."""
        if not self.on_gpu:
            job(*tensors)
            return
        copies = [torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True) for x in tensors]
        copied = torch.cuda.Event()
        copied.record()

        def carry_out() -> None:
            copied.synchronize()
            job(*copies)

        self.pending.append(self.order.submit(carry_out))
        while len(self.pending) > PENDING:
            self.pending.popleft().result()

    def wait(self) -> None:
        """Returns when all jobs are done.

        Raises:
            Exception: what a job raised.
        """
        while self.pending:
            self.pending.popleft().result()

    def each(self, members: Sequence[tuple[int, Any]], action: Callable[[int, Any], Any]) -> None:
        """Calls `action(number, member)` for each; where that fails, `member.error` is set, and the others go on."""

        def one(numbered: tuple[int, Any]) -> None:
            try:
                action(*numbered)
            except (Failure, InputError) as error:
                numbered[1].error = error
            except OSError as error:
                numbered[1].error = Failure(f"{error.filename or 'a file'}: can't be written ({error.strerror})")

        if self.on_gpu:
            list(self.shared.map(one, members))
        else:
            for numbered in members:
                one(numbered)
