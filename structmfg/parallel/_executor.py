"""Many solves at once, over any `concurrent.futures.Executor`; only this module knows of dask.

A task is a call of a function of a module with names and numbers, so that every kind of worker takes it. Workers of
this machine are standard process pools of one process each: a pool as a whole breaks when one of its processes dies,
which would end the solves of the others. A task whose process died is given to a new one.
"""

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import queue
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar
from multiprocessing.connection import Connection
from typing import Any

from typing_extensions import override

from structmfg.parallel._cores import own_cores

_MOST_PER_CORE = 4  # workers
_ATTEMPTS = 3  # at one task, each of which ended with its process
_STOP_SECONDS = 30.0  # for a task to end when it is told to
_CONNECT_SECONDS = 10.0
_ADDRESS = re.compile(r"(tcp|tls)://[^\s/]+:\d{1,5}")

_stopped: set[str] = set()  # executors whose tasks are to end, of those that have given this process a task
_executor: ContextVar[str] = ContextVar("executor", default="")  # that has given this thread its task


def stopping() -> bool:
    """Whether the task of this thread is to end, because the command that it belongs to has been interrupted."""
    return _executor.get() in _stopped


def check_scheduler(scheduler: str) -> int | str:
    """The number of workers of this machine that a text such as "2" or "local:2" asks for, or the address in it.

    Raises:
        ValueError: The text is neither, or there are too many workers for this machine.
    """
    if _ADDRESS.fullmatch(scheduler):
        return scheduler
    number = re.fullmatch(r"(?:local:)?(\d{1,9})", scheduler)
    if number is None or not int(number[1]):
        raise ValueError(
            "scheduler must be a number of workers on this machine (2 or local:2), or the address of a dask scheduler "
            f"(tcp://host:8786), but is {scheduler[:200]!r}"
        )
    count, cores = int(number[1]), len(own_cores())
    if count > _MOST_PER_CORE * cores:
        raise ValueError(f"scheduler asks for {count} workers, of at most {_MOST_PER_CORE * cores} on {cores} cores")
    return count


@contextlib.contextmanager
def open_executor(scheduler: str | None) -> Iterator[Executor | None]:
    """An executor; at the end of the block, also by Ctrl-C, tasks that have not ended are stopped.

    Args:
        scheduler: "N" or "local:N" for N worker processes of this machine, "tcp://HOST:PORT" for a dask scheduler, or
            None for no executor.

    Yields:
        The executor. The functions that it is given must be those of a module, and their arguments must be picklable.
        They are called in processes that may die, after which they are called again: three times at most.

    Raises:
        ValueError: The text has another form, dask.distributed is not installed, or no scheduler answers.
    """
    if scheduler is None:
        yield None
        return
    place = check_scheduler(scheduler)
    executor = _LocalWorkers(place) if isinstance(place, int) else _Cluster(place)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def outcomes(
    executor: Executor | None, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Call `function(*task)` for every task: by the executor, or without one in this process, one after the other.

    Yields:
        The number of a task, and a function that returns its result or raises its error; as the tasks end, or in this
        process before each, which that function does.
    """
    if executor is None:
        for number, task in enumerate(tasks):
            yield number, lambda task=task: function(*task)  # type: ignore[misc]
        return
    numbers = {executor.submit(function, *task): number for number, task in enumerate(tasks)}
    for future in as_completed(numbers):
        yield numbers[future], future.result


class _LocalWorkers(Executor):
    """Worker processes of this machine. Each has cores of its own, as far as there are enough."""

    def __init__(self, count: int) -> None:
        self._context = multiprocessing.get_context("spawn")  # a process in which JAX runs must not be forked
        self._name = uuid.uuid4().hex
        # Workers wait for the end of this pipe, so that they also learn that this process has been killed.
        self._reader, self._writer = self._context.Pipe(duplex=False)
        self._stopping = False
        self._idle: queue.SimpleQueue[tuple[list[int], Executor]] = queue.SimpleQueue()
        for cores in _shares(own_cores(), count):
            self._idle.put((cores, self._start(cores)))
        # Workers inherit that Ctrl-C is blocked: it would reach all processes of a terminal, and this one tells them.
        self._threads = ThreadPoolExecutor(
            count, initializer=signal.pthread_sigmask, initargs=(signal.SIG_BLOCK, {signal.SIGINT})
        )

    def _start(self, cores: list[int]) -> Executor:
        arguments = (self._reader, self._name, cores)
        return ProcessPoolExecutor(1, self._context, initializer=_start_worker, initargs=arguments)

    @override
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return self._threads.submit(self._run, fn, *args, **kwargs)

    def _run(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        for _ in range(_ATTEMPTS):
            cores, pool = self._idle.get()
            try:
                return pool.submit(call, self._name, function, *arguments, **named).result()
            except (BrokenProcessPool, InterruptedError):
                if self._stopping:
                    raise
                pool.shutdown()
                pool = self._start(cores)
            finally:
                self._idle.put((cores, pool))
        raise RuntimeError(f"its worker process died, {_ATTEMPTS} times (of a lack of memory?)")

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            self._stopping = True
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._writer.close()
        self._threads.shutdown(wait)
        while not self._idle.empty():
            self._idle.get()[1].shutdown(wait)
        self._writer.close()
        self._reader.close()


def _start_worker(reader: Connection, executor: str, cores: list[int]) -> None:
    """Prepare a worker process: its cores, and a thread that waits for the end."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # before JAX counts them, to make so many threads
    threading.Thread(target=_await_end, args=(reader, executor), daemon=True).start()


def _await_end(reader: Connection, executor: str) -> None:
    """Stop the task of this process once the other end of a pipe is closed; end the process if it does not stop."""
    reader.poll(None)
    _stopped.add(executor)
    time.sleep(_STOP_SECONDS)
    os._exit(1)


def call(executor: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a function as the task of an executor, which can stop it.

    Raises:
        InterruptedError: It was interrupted. `KeyboardInterrupt` would end the whole process of some workers.
    """
    before = _executor.set(executor)
    try:
        if stopping():
            raise InterruptedError("interrupted")
        return function(*arguments, **named)
    except KeyboardInterrupt as error:
        raise InterruptedError(str(error) or "interrupted") from None
    finally:
        _executor.reset(before)


class _Cluster(Executor):
    """The workers of a dask scheduler, which gives a task to another worker when one dies."""

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise ValueError(
                f"the scheduler {address} needs dask.distributed: pip install 'structmfg[cluster]'"
            ) from None
        try:
            self._client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"no dask scheduler answers at {address} within {_CONNECT_SECONDS:g} s: {reason[:200]}"
            ) from None
        self._pool = self._client.get_executor(pure=False)
        self._name = uuid.uuid4().hex
        self._futures: list[Future[Any]] = []

    @override
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self._futures.append(self._pool.submit(call, self._name, fn, *args, **kwargs))
        return self._futures[-1]

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures and not all(future.done() for future in self._futures):
            self._client.run(stop, self._name)
        if wait:
            concurrent.futures.wait(self._futures, timeout=_STOP_SECONDS if cancel_futures else None)
        self._pool.shutdown(wait=False)
        self._client.close()


def stop(executor: str) -> None:
    """Let all tasks end that this process has of an executor, and all that it is going to get."""
    _stopped.add(executor)


def _shares(cores: Sequence[int], count: int) -> list[list[int]]:
    """The cores of each of `count` workers: equal parts; of more workers than cores, one each, some of them shared."""
    if count >= len(cores):
        return [[cores[i % len(cores)]] for i in range(count)]
    ends = [math.floor(len(cores) * i / count) for i in range(count + 1)]
    return [list(cores[ends[i] : ends[i + 1]]) for i in range(count)]
