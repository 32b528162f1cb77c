"""A process that trains one run after another; `local` starts it and sends it orders.

It imports torch once. Each order is a line of JSON on stdin, and each answer a line on stdout. An unexpected error ends
the process, with a traceback on stderr, so that no later run starts from a broken state. When stdin ends, the process
saves its run and stops. Stdin ends on Ctrl-C, and also when the sweep dies for any reason.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import IO, Any

GRACE = 120.0  # seconds to finish a step, evaluate and save; after them the process ends in any case


def main() -> None:
    """Trains the runs that stdin names, until stdin ends."""
    # Both pipes get new numbers: a child process must not read the orders; prints must not mix with the answers.
    orders, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    for sort in (signal.SIGINT, signal.SIGTERM):  # the end of stdin stops it, so that its run is saved
        signal.signal(sort, signal.SIG_IGN)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    idle = threading.Event()
    idle.set()
    threading.Thread(target=_listen, args=(orders, jobs, idle), daemon=True).start()
    import mechxl.training.loop  # noqa: F401  slow: imported once, before the first order

    while line := jobs.get():
        answer = _train(json.loads(line), idle)
        os.write(answers, (json.dumps(answer) + "\n").encode())  # short, so that it is written whole or not at all
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
    """Trains one run; the process can be interrupted only while it trains."""
    import torch

    from mechxl.config import parse_config
    from mechxl.errors import Busy, Failure, InputError
    from mechxl.training.loop import train_run

    sys.argv = order["command"]  # a run's environment.json records the command
    torch.set_num_threads(order["threads"])
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        idle.clear()
        train_run(parse_config(order["settings"]), order["out"], resume=True, quiet=True)
        return {"status": "complete"}
    except Busy as error:
        return {"status": "elsewhere", "reason": str(error)}
    except (InputError, Failure) as error:
        return {"status": "failed", "reason": str(error)}
    except KeyboardInterrupt as interrupt:
        return {"status": "stopped", "reason": str(interrupt) or f"{order['out']}: stopped"}
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
