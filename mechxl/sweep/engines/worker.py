"""A process that trains one run after another; `local` starts it and is all that it talks to.

It imports torch once. Orders come as lines of JSON on stdin, and each is answered by a line on stdout; what goes wrong
unforeseen ends the process, with its traceback on stderr, so that no run inherits a broken state. The end of stdin
means: stop, with all saved. It comes on Ctrl-C, and just so when the sweep dies, however that happens.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import IO, Any

GRACE = 120.0  # seconds to finish a step, its evaluation and the saving, before the process ends regardless


def main() -> None:
    """Trains what stdin says, until it ends."""
    # Both pipes are moved away: a child must not read the one, and nothing printed may get into the other.
    orders, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    idle = threading.Event()
    idle.set()
    threading.Thread(target=_listen, args=(orders, jobs, idle), daemon=True).start()
    import mechxl.training.loop  # noqa: F401  the slow part, once

    while line := jobs.get():
        answer = _train(json.loads(line), idle)
        os.write(answers, (json.dumps(answer) + "\n").encode())  # small: written whole, or not at all
        idle.set()


def _listen(orders: IO[bytes], jobs: "queue.SimpleQueue[bytes]", idle: threading.Event) -> None:
    for line in orders:
        jobs.put(line)
    if idle.is_set():
        os._exit(0)
    jobs.put(b"")
    os.kill(os.getpid(), signal.SIGINT)  # train_run saves and stops
    time.sleep(GRACE)
    os._exit(1)


def _train(order: dict[str, Any], idle: threading.Event) -> dict[str, str]:
    """Trains one run; only meanwhile can it be interrupted."""
    import torch

    from mechxl.config import parse_config
    from mechxl.errors import Failure, InputError
    from mechxl.training.loop import train_run

    sys.argv = order["command"]  # a run's environment.json tells what command made it
    torch.set_num_threads(order["threads"])
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        idle.clear()
        train_run(parse_config(order["settings"]), order["out"], resume=True, quiet=True)
        return {"status": "complete"}
    except (InputError, Failure) as error:
        return {"status": "failed", "reason": str(error)}
    except KeyboardInterrupt as interrupt:
        return {"status": "stopped", "reason": str(interrupt) or f"{order['out']}: stopped"}
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
