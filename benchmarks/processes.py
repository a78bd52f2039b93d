"""Processes that prepare at the same time and measure one after the other."""
import itertools
import multiprocessing
import time
from queue import Empty
from typing import Any, Callable, Dict, List

import torch


def _attempt(function: Callable, *args) -> Any:
    """Get a function's result, or its error, so that others continue."""
    try:
        return function(*args)
    except Exception as error:
        return ' '.join(f'{type(error).__name__}: {error}'.split())[:200]


def work(rows: list, prepare: Callable, measure: Callable, ready, start, turn,
         results) -> None:
    """Prepare rows, wait for all other processes, and measure in turn."""
    prepared = dict()
    for row in rows:
        prepared[row] = _attempt(prepare, row)
        torch.cuda.empty_cache()
    ready.put(rows)
    start.wait()
    for row, result in prepared.items():
        if not isinstance(result, str):
            with turn:
                result = _attempt(measure, row, *result)
        results.put((row, result))


def run_in_turn(parts: List[list], prepare: Callable, measure: Callable,
                seconds: float) -> Dict[Any, Any]:
    """Prepare parts of a benchmark at the same time, and measure in turn.

    Args:
        parts (list[list]): The rows that each process prepares and measures.
        prepare (Callable): Takes a row, and returns a tuple.
        measure (Callable): Takes the row and the items of this tuple.
        seconds (float): Time limit for all preparations, and for each result.
            Later ones are left out.

    Returns:
        dict: Results, or messages of errors.
    """
    context = multiprocessing.get_context('spawn')
    ready, results = context.Queue(), context.Queue()
    start, turn = context.Event(), context.Lock()
    processes = {
        tuple(part):
        context.Process(
            target=work,
            args=(part, prepare, measure, ready, start, turn, results),
            daemon=True)
        for part in parts
    }
    for process in processes.values():
        process.start()
    deadline = time.monotonic() + seconds
    waiting, found = [], {}
    try:
        while len(waiting) < len(processes):
            waiting.append(
                tuple(ready.get(timeout=max(0, deadline - time.monotonic()))))
    except Empty:
        print(f'{len(waiting)} of {len(processes)} processes were prepared '
              f'after {seconds} s')
    for part, process in processes.items():
        if part not in waiting:
            process.terminate()
    start.set()
    try:
        for _ in itertools.chain.from_iterable(waiting):
            row, result = results.get(timeout=seconds)
            found[row] = result
    except Empty:
        print(f'no result within {seconds} s')
    for process in processes.values():
        process.terminate()
    return found
