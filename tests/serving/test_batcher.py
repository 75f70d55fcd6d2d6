"""The greedy batcher: what is put together, what is kept apart, and who pays for a failure."""

import asyncio
import gc
import re
import threading
import time
import weakref

import numpy as np
import pytest

from frn_onnx.serving.batcher import Batcher
from frn_onnx.serving.errors import ModelRunError, QueueFullError, WaitError


class FakeModel:
    """Doubles x, and records the shapes it was run with; the gate holds every run back."""

    def __init__(self):
        self.shapes = []
        self.gate = threading.Event()
        self.started = threading.Event()
        self.fails = lambda x: False
        self.rows = lambda x: len(x)

    def run(self, feeds, outputs):
        x = feeds["x"]
        self.shapes.append(x.shape)
        self.started.set()
        assert self.gate.wait(10)
        if self.fails(x):
            raise RuntimeError("index out of range")
        return {name: 2 * x[: self.rows(x)] for name in outputs}


def rows(*values, width=2):
    return {"x": np.array(values, np.float32)[:, None].repeat(width, axis=1)}


def unobserved(run, **limits):
    return Batcher(run, observe=lambda *_: None, **limits)


async def _first_running(batcher, model, feeds):
    """Starts a request and waits until it runs, so that the next ones queue up behind it."""
    task = asyncio.create_task(batcher.submit(feeds, ["y"]))
    await asyncio.to_thread(model.started.wait, 10)
    return task


async def _queue(batcher, *requests):
    tasks = [asyncio.create_task(batcher.submit(feeds, ["y"])) for feeds in requests]
    await asyncio.sleep(0)
    return tasks


def scenario(requests, *, first=None, max_batch=8, max_queue=100, model=None):
    """Results, in order, of a first request and of those that queued up while it ran."""
    model = model or FakeModel()
    runs = []

    async def play():
        batcher = Batcher(
            model.run,
            max_batch=max_batch,
            max_queue=max_queue,
            observe=lambda samples, seconds: runs.append(samples),
        )
        running = await _first_running(batcher, model, rows(0) if first is None else first)
        tasks = await _queue(batcher, *requests)
        model.gate.set()
        results = await asyncio.gather(running, *tasks, return_exceptions=True)
        batcher.close()
        return results

    return asyncio.run(play()), model, runs


def values(result):
    return result.outputs["y"][:, 0].tolist()


def test_what_queued_up_runs_together_and_everyone_gets_their_rows():
    results, model, runs = scenario([rows(1), rows(2, 3), rows(4)])
    assert model.shapes == [(1, 2), (4, 2)]
    assert runs == [1, 4]
    assert [values(r) for r in results] == [[0], [2], [4, 6], [8]]
    assert [r.batch for r in results] == [1, 4, 4, 4]
    assert all(r.run_seconds >= 0 and r.queue_seconds >= 0 for r in results)


def test_what_came_in_one_turn_is_one_run_that_others_wait_for():
    model = FakeModel()

    async def play():
        batcher = unobserved(model.run, max_batch=8, max_queue=9)
        tasks = await _queue(batcher, rows(1), rows(2))
        await asyncio.to_thread(model.started.wait, 10)
        for value in (3, 4):
            tasks += await _queue(batcher, rows(value))
            await asyncio.sleep(0.01)
        model.gate.set()
        await asyncio.gather(*tasks)
        batcher.close()

    asyncio.run(play())
    assert model.shapes == [(2, 2), (2, 2)]


def test_max_batch_is_never_exceeded_and_nobody_starves():
    results, model, _ = scenario([rows(i) for i in range(1, 8)], max_batch=3)
    assert model.shapes == [(1, 2), (3, 2), (3, 2), (1, 2)]
    assert [values(r) for r in results] == [[2 * i] for i in range(8)]


def test_the_models_own_sample_runs_alone_and_first():
    model = FakeModel()

    async def play():
        batcher = unobserved(model.run, max_batch=2, max_queue=9)
        batcher.set_sample(rows(*range(3)), ["y"])
        running = await _first_running(batcher, model, rows(0))
        tasks = await _queue(batcher, *(rows(i) for i in range(4)))
        check = asyncio.create_task(batcher._check_sample())
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(running, check, *tasks)
        batcher.close()

    asyncio.run(play())
    assert [shape[0] for shape in model.shapes] == [1, 3, 2, 2]


def test_an_answer_keeps_nothing_of_others():
    results, model, _ = scenario([rows(1), rows(2)])
    assert len(model.shapes) == 2
    assert all(result.outputs["y"].base is None for result in results[1:])


def test_max_batch_one_runs_each_alone():
    _, model, _ = scenario([rows(1), rows(2)], max_batch=1)
    assert model.shapes == [(1, 2)] * 3


def test_a_request_larger_than_max_batch_runs_alone():
    results, model, _ = scenario([rows(1, 2, 3, 4), rows(5)], max_batch=2)
    assert model.shapes == [(1, 2), (4, 2), (1, 2)]
    assert values(results[1]) == [2, 4, 6, 8]


def test_other_shapes_run_apart_and_the_oldest_goes_first():
    wide = rows(7, width=5)
    results, model, _ = scenario([wide, rows(1), rows(9, width=5), rows(2)])
    assert model.shapes == [(1, 2), (2, 5), (2, 2)]
    assert [values(r) for r in results] == [[0], [14], [2], [18], [4]]


def test_inputs_without_a_common_batch_run_alone():
    def run(feeds, outputs):
        shapes.append({name: array.shape for name, array in feeds.items()})
        return {"y": feeds["a"]}

    shapes = []

    async def play():
        batcher = unobserved(run, max_batch=8, max_queue=8)
        feeds = {"a": np.zeros((2, 1)), "b": np.zeros((3, 1))}
        await asyncio.gather(*[batcher.submit(feeds, ["y"]) for _ in range(3)])
        batcher.close()

    asyncio.run(play())
    assert shapes == [{"a": (2, 1), "b": (3, 1)}] * 3


def test_only_the_guilty_request_of_a_batch_fails():
    model = FakeModel()
    model.fails = lambda x: (x == 13).any()
    results, model, runs = scenario([rows(1), rows(13), rows(2)], model=model)
    assert isinstance(results[2], ModelRunError)
    assert "the model failed on this request: index out of range" in str(results[2])
    assert [values(r) for r in (results[0], results[1], results[3])] == [[0], [2], [4]]
    assert model.shapes == [(1, 2), (3, 2), (1, 2), (1, 2), (1, 2)]
    assert runs == [1, 1, 1]


def test_halves_find_the_guilty_request_of_a_large_batch():
    model = FakeModel()
    model.fails = lambda x: (x == 13).any()
    results, model, runs = scenario([rows(i) for i in range(1, 33)], model=model, max_batch=32)
    assert isinstance(results[13], ModelRunError)
    assert [values(r) for r in results if r is not results[13]] == [
        [2 * i] for i in range(33) if i != 13
    ]
    assert len(model.shapes) <= 2 + 2 * 3 + 4
    assert sum(runs) == 32


def test_a_run_that_began_after_its_client_went_ends():
    """Told to end before the thread had begun it, it would go on for nobody."""
    stopped = threading.Event()

    def run(feeds, outputs):
        stopped.clear()
        begun.set()
        assert stopped.wait(10)
        raise RuntimeError("ended")

    begun = threading.Event()

    async def play():
        batcher = unobserved(run, stop=stopped.set, max_batch=8, max_queue=8)
        client = asyncio.create_task(batcher.submit(rows(1), ["y"]))
        await asyncio.sleep(0)
        for _ in range(100):  # until it is handed to the thread, which has not looked yet
            client.cancel()
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        busy = batcher._current is not None
        batcher.close()
        return busy

    assert not asyncio.run(play())


def test_refusals_say_what_they_compare():
    model = FakeModel()

    async def play():
        batcher = unobserved(model.run, max_batch=1, max_queue=9, max_wait=1.0)
        batcher.pace.note(1, 0.3)
        running = await _first_running(batcher, model, rows(0))
        tasks = await _queue(batcher, rows(1), rows(2))
        await asyncio.sleep(1.2)
        model.gate.set()
        results = await asyncio.gather(running, *tasks, return_exceptions=True)
        batcher.close()
        return results

    _, late, refused = asyncio.run(play())
    assert "has waited 1 s for its run, which is the limit (--max-wait)" in str(late)
    found = re.search(
        r"would wait (\S+) s for its run, and no more than (\S+) s leaves", str(refused)
    )
    assert float(found[1]) > float(found[2])


@pytest.mark.parametrize(
    ("known", "sizes"),
    [
        ({1: 0.1, 16: 1.6}, [1] + [2] * 8),  # nothing is gained by more
        ({1: 0.5, 16: 0.5}, [1, 16]),
        ({1: 0.01, 16: 0.16}, [1, 16]),  # nor is anything lost
    ],
)
def test_runs_are_no_longer_than_many_samples_are_worth(known, sizes):
    model = FakeModel()

    async def play():
        batcher = unobserved(model.run, max_batch=16, max_queue=99, max_wait=1.0)
        batcher.pace.note = lambda *_: None
        batcher.pace._seconds = {size.bit_length(): seconds for size, seconds in known.items()}
        batcher.check_room = lambda: None
        running = await _first_running(batcher, model, rows(0))
        tasks = await _queue(batcher, *(rows(i) for i in range(16)))
        model.gate.set()
        await asyncio.gather(running, *tasks)
        batcher.close()

    asyncio.run(play())
    assert [shape[0] for shape in model.shapes] == sizes


def test_nobody_waits_behind_a_run_that_is_late():
    """One that has taken long beyond what such runs take will hardly end just now."""
    model = FakeModel()

    async def play():
        batcher = unobserved(model.run, max_batch=1, max_queue=9, max_wait=0.2)
        batcher.pace.note(1, 0.01)
        running = await _first_running(batcher, model, rows(0))
        batcher.check_room()
        await asyncio.sleep(0.3)
        with pytest.raises(WaitError, match="a request would wait"):
            batcher.check_room()
        model.gate.set()
        await running
        batcher.check_room()
        batcher.close()

    asyncio.run(play())


def test_a_large_request_that_waits_is_one_run():
    """And not as many as its samples would make, for which everybody else would be refused."""
    model = FakeModel()

    async def play():
        batcher = unobserved(model.run, max_batch=8, max_queue=9, max_wait=1.0)
        batcher.pace.note(8, 0.01)
        batcher.pace.note(4096, 0.1)
        running = await _first_running(batcher, model, rows(0))
        tasks = await _queue(batcher, *[rows(*range(4000))] * 2)
        batcher.check_room()
        tasks += await _queue(batcher, rows(1), rows(2))
        model.gate.set()
        await asyncio.gather(running, *tasks)
        batcher.close()

    asyncio.run(play())
    assert [shape[0] for shape in model.shapes] == [1, 4000, 4000, 2]


def test_what_many_wait_costs_little_to_know():
    """Every request asks, more of them the more wait."""
    model = FakeModel()

    async def play():
        batcher = Batcher(model.run, max_batch=8, max_queue=999, max_wait=60, observe=print)
        running = await _first_running(batcher, model, rows(0))
        took = []
        tasks = []
        for _ in range(2):
            start = time.thread_time()
            for _ in range(500):
                batcher.check_room()
            took.append(time.thread_time() - start)
            tasks += await _queue(batcher, *(rows(i) for i in range(200)))
        for task in tasks:
            task.cancel()
        model.gate.set()
        await running
        batcher.close()
        return took

    idle, busy = asyncio.run(play())
    assert busy < 6 * idle


def test_a_batch_that_failed_is_not_timed_as_one_run():
    """Its parts run on, each with the time that a run has, and answered when it is done."""
    seconds = 0.1

    def run(feeds, outputs):
        time.sleep(seconds)
        if (feeds["x"] == 13).any():
            raise RuntimeError("index out of range")
        return {"y": 2 * feeds["x"]}

    async def play():
        batcher = unobserved(run, max_batch=8, max_queue=8, run_timeout=3 * seconds)
        done = []
        requests = [rows(13), *(rows(i) for i in range(7))]
        tasks = [asyncio.create_task(batcher.submit(feeds, ["y"])) for feeds in requests]
        for i, task in enumerate(tasks):
            task.add_done_callback(lambda _, i=i: done.append((i, time.perf_counter())))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        ready = batcher.health.ready
        batcher.close()
        return results, done, ready

    results, done, ready = asyncio.run(play())
    assert isinstance(results[0], ModelRunError)
    assert [values(result) for result in results[1:]] == [[2 * i] for i in range(7)]
    assert ready
    assert [i for i, _ in done] == list(range(8))
    assert done[-1][1] - done[0][1] > 3.5 * seconds


def test_outputs_that_are_not_one_row_per_sample_are_never_handed_out():
    model = FakeModel()
    model.rows = lambda x: 1
    results, model, _ = scenario([rows(1), rows(2)], model=model)
    assert [values(r) for r in results] == [[0], [2], [4]]


def test_outputs_asked_for_are_computed_once_for_all():
    asked = []

    def run(feeds, outputs):
        asked.append(list(outputs))
        return dict.fromkeys(outputs, feeds["x"])

    async def play():
        batcher = unobserved(run, max_batch=8, max_queue=8)
        await asyncio.gather(batcher.submit(rows(1), ["y"]), batcher.submit(rows(2), ["z", "y"]))
        batcher.close()

    asyncio.run(play())
    assert asked == [["y", "z"]]


def test_a_full_queue_refuses_with_the_reason():
    results, _, _ = scenario([rows(i) for i in range(5)], max_queue=3)
    refused = [r for r in results if isinstance(r, QueueFullError)]
    assert len(refused) == 2
    assert "3 requests are waiting" in str(refused[0])
    assert refused[0].headers["Retry-After"] == "1"


def test_a_client_that_went_away_harms_nobody():
    model = FakeModel()

    async def play():
        batcher = unobserved(model.run, max_batch=8, max_queue=8)
        running = await _first_running(batcher, model, rows(0))
        gone, stays = await _queue(batcher, rows(1), rows(2))
        gone.cancel()
        model.gate.set()
        results = await asyncio.gather(running, stays)
        batcher.close()
        return results

    assert [values(r) for r in asyncio.run(play())] == [[0], [4]]
    assert model.shapes == [(1, 2), (1, 2)]


@pytest.mark.parametrize("clients", [1, 50])
def test_many_clients_all_get_their_own(clients):
    model = FakeModel()
    model.gate.set()

    async def client(batcher, number):
        for step in range(20):
            value = number * 1000 + step
            result = await batcher.submit(rows(value), ["y"])
            assert values(result) == [2 * value]

    async def play():
        batcher = unobserved(model.run, max_batch=16, max_queue=100)
        await asyncio.gather(*[client(batcher, n) for n in range(clients)])
        batcher.close()

    asyncio.run(play())
    assert sum(shape[0] for shape in model.shapes) == 20 * clients
    assert (len(model.shapes) < 20 * clients) == (clients > 1)


def play_alone(observe, requests):
    """Whatever ``await requests(batcher)`` does with a batcher of a model that works."""

    async def inside():
        batcher = Batcher(
            lambda feeds, outputs: {"y": feeds["x"] * 2}, max_batch=8, max_queue=8, observe=observe
        )
        batcher.set_sample(rows(0), ["y"])
        try:
            await requests(batcher)
        finally:
            batcher.close()

    asyncio.run(inside())


def test_a_run_is_counted_before_its_answer_is_known():
    """Whoever asks for the figures when he has his answer finds the run among them."""
    runs = []

    def observe(samples, seconds):
        time.sleep(0.01)
        runs.append(samples)

    async def requests(batcher):
        for count in range(1, 4):
            await batcher.submit(rows(1, 2), ["y"])
            assert runs == [2] * count

    play_alone(observe, requests)


@pytest.mark.parametrize("feeds", [rows(1, 2), rows(*range(9))])
def test_an_idle_batcher_holds_nothing_of_its_last_request(feeds):
    async def requests(batcher):
        feeds = {"x": given.pop("x").copy()}
        result = await batcher.submit(feeds, ["y"])
        held = [weakref.finalize(feeds["x"], int), weakref.finalize(result.outputs["y"], int)]
        del feeds, result
        gc.disable()
        deadline = time.monotonic() + 5
        while any(array.alive for array in held) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        gc.enable()
        assert not [array.alive for array in held if array.alive]

    given = dict(feeds)
    play_alone(lambda *_: None, requests)
