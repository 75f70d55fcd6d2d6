"""The servers under a real client, beside a bare loop over session.run on the same machine.

The model is a ResNet-20-FRN for 224x224 images, ONNX Runtime has 2 threads, the client is
tritonclient[http] in a process of its own on the same machine: what it takes of the CPU is taken
from the server. Before anything is timed, the answers are compared with session.run's.

Rounds alternate between the server and the bare loop, so that a disturbance meets both, and
ratios are taken within a round. The bare loop runs the batch sizes that the server's log shows.
The overhead is taken request by request: the client's time less that of the run which answered
it, both of the same request, so a run that the machine disturbed cancels out.

    python benchmarks/bench_serving.py [--hosts embedded ray1 ray2 haproxy1 haproxy2]
        [--seconds 4] [--rounds 3] [--soak 100000]

writes benchmarks/results/serving.json, the tables in docs/serving.md and, for --soak, the figure
docs/images/serving-memory.svg. --render writes the tables and the figure from the JSON again. All
of it, with the environments it needs and 100,000 requests for the figure, takes a quarter of an
hour on a quiet machine with two cores:

    FRN_ONNX_REQUIRE_ENVS=1 python benchmarks/bench_serving.py --soak 100000
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import environments  # noqa: E402
from serving import example_models, processes, soak  # noqa: E402
from serving_report import CLIENTS, render  # noqa: E402

from frn_onnx.serving import ray_config  # noqa: E402
from frn_onnx.serving.metrics import Metrics  # noqa: E402
from frn_onnx.serving.options import ModelOptions  # noqa: E402
from frn_onnx.serving.service import ServedModel  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
MODEL = ROOT / ".cache" / "bench" / "resnet20_224.onnx"
INPUT, SHAPE = "image", [1, 224, 224, 3]
THREADS = 2
JSON_CLIENTS = 16
# Longer than 64 clients wait for their turn on any machine: what is refused is not timed.
MAX_WAIT = 600
HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
# host -> (replicas, further environment); None replicas is the embedded host.
HOSTS: dict[str, tuple[int | None, dict[str, str]]] = {
    "embedded": (None, {}),
    "ray1": (1, {}),
    "ray2": (2, {}),
    "haproxy1": (1, HAPROXY),
    "haproxy2": (2, HAPROXY),
}
RAY_PORT = 18441


def make_model() -> None:
    """The ResNet-20-FRN, exported once."""
    if MODEL.exists():
        return
    import frn_onnx
    from models import randomize, resnet20

    model = resnet20(tuple(SHAPE[1:]))
    randomize(model)
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    frn_onnx.export(model, MODEL)


def start(host: str, folder: Path):
    """The host as a process, with the model on all its replicas."""
    replicas, env = HOSTS[host]
    log = folder / f"{host}.log"
    if replicas is None:
        flags = ("--port", "0", "--threads", str(THREADS), "--max-wait", str(MAX_WAIT))
        command = ("serve", MODEL, *flags)
        return processes.start(*processes.CLI, *command, log=log)
    model = ModelOptions(MODEL, threads=THREADS, max_wait=MAX_WAIT)
    text = ray_config.render([model], ray_config.Scale(replicas), port=RAY_PORT)
    # Two replicas of two threads share two cores, as two clients of one machine would.
    path = folder / f"{host}.yaml"
    path.write_text(text.replace(f"num_cpus: {THREADS}", f"num_cpus: {THREADS / replicas:g}"))
    env = {**env, "HOME": str(folder)}
    python = environments.python("ray")
    command = ("serve", "--ray", path)
    return processes.start(*processes.CLI, *command, python=python, log=log, timeout=300, env=env)


def load(server, clients: int, seconds: float, kind: str = "binary") -> dict:
    """One run of the client."""
    script = ROOT / "benchmarks" / "serving_load.py"
    shape = json.dumps(SHAPE)
    arguments = (f"127.0.0.1:{server.port}", MODEL.stem, INPUT, shape, str(clients), str(seconds))
    report = json.loads(environments.run("clients", script, *arguments, kind, timeout=600))
    if report["failed"]:
        raise SystemExit(f"{len(report['failed'])} requests failed: {report['failed'][0]}")
    return report


def bare_session():
    """What a program without a server would use; ONNX Runtime's own settings but for threads."""
    import onnxruntime

    import frn_onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return frn_onnx.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


def bare_loop(session, sizes: dict[int, int], seconds: float) -> tuple[float, float]:
    """Samples per second, and the median ms, of session.run over batches of these sizes."""
    order = np.random.default_rng(1).permutation(np.repeat(list(sizes), list(sizes.values())))
    rng = np.random.default_rng(0)
    feeds = {size: rng.normal(size=[size, *SHAPE[1:]]).astype(np.float32) for size in sizes}
    samples, taken, begin = 0, [], time.perf_counter()
    while time.perf_counter() - begin < seconds:
        size = int(order[len(taken) % len(order)])
        start = time.perf_counter()
        session.run(None, {INPUT: feeds[size]})
        taken.append(time.perf_counter() - start)
        samples += size
    return samples / (time.perf_counter() - begin), statistics.median(taken) * 1e3


def verify(server, session) -> None:
    """The server's answer is session.run's, to the last bit of JSON."""
    x = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    entry = {"name": INPUT, "shape": SHAPE, "datatype": "FP32", "data": x.ravel().tolist()}
    body = json.dumps({"inputs": [entry]})
    status, _, answer = server.request("POST", f"/v2/models/{MODEL.stem}/infer", body)
    output = json.loads(answer)["outputs"][0]
    (expected,) = session.run([output["name"]], {INPUT: x})
    if status != 200 or not np.array_equal(np.float32(output["data"]), expected.ravel()):
        raise SystemExit(f"the server answered {status}, {output}; expected {expected}")


def memory_bytes(pid: int) -> int:
    """Memory of a process and its descendants; what they share is counted once (PSS)."""
    total = 0
    for process in processes.family(pid):
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024


def requests_in_log(server) -> dict[str, dict]:
    """The log's lines on answered inferences by the client's id."""
    time.sleep(0.2)
    return {r["id"]: r for r in server.records() if r.get("status") == 200 and "id" in r}


def measure(host: str, session, seconds: float, rounds: int, folder: Path) -> dict:
    """All figures of one host."""
    with start(host, folder) as server:
        verify(server, session)
        load(server, CLIENTS[-1], seconds / 2)
        row: dict = {
            "host": host,
            "start_s": server.start_seconds,
            "memory_bytes": memory_bytes(server.process.pid),
        }
        is_embedded = HOSTS[host][0] is None
        samples: dict[str, list[float]] = {}

        def note(name: str, value: float) -> None:
            samples.setdefault(name, []).append(value)

        for clients in CLIENTS * rounds:
            report = load(server, clients, seconds)
            sizes = {1: 1}
            if is_embedded:
                log = requests_in_log(server)
                taken = [(ms, log[identity]) for identity, ms in report["taken"]]
                batches = Counter(line["batch"] for _, line in taken)
                sizes = {batch: max(count // batch, 1) for batch, count in batches.items()}
                runs = sum(count / batch for batch, count in batches.items())
                note(f"batch_{clients}", report["requests"] / runs)
                if clients == 1:
                    note("overhead_ms", statistics.median(ms - at["run_ms"] for ms, at in taken))
                    note("inside_ms", statistics.median(at["ms"] - at["run_ms"] for _, at in taken))
            rate = report["requests"] / report["seconds"]
            bare_rate, bare_ms = bare_loop(session, sizes, seconds)
            note(f"per_s_{clients}", rate)
            note(f"p50_ms_{clients}", statistics.median(ms for _, ms in report["taken"]))
            note(f"ratio_{clients}", rate / bare_rate)
            if clients == 1:
                note("bare_p50_ms", bare_ms)
        as_json = load(server, JSON_CLIENTS, seconds, "json")
        note("json_per_s", as_json["requests"] / as_json["seconds"])
    row["figures"] = {
        name: {
            "median": statistics.median(values),
            "lowest": min(values),
            "highest": max(values),
        }
        for name, values in samples.items()
    }
    return row


def overhead_ms(server, report: dict) -> float:
    """Median of what the client waited beside the run, request by request."""
    log = requests_in_log(server)
    return statistics.median(ms - log[identity]["run_ms"] for identity, ms in report["taken"])


def measure_floor(seconds: float, rounds: int, folder: Path) -> float:
    """The overhead of a server that does nothing else."""
    script = ROOT / "benchmarks" / "serving_floor.py"
    arguments = (script, MODEL, INPUT, json.dumps(SHAPE), str(THREADS))
    with processes.start(*arguments, log=folder / "floor.log") as server:
        load(server, 1, 1.0)
        return statistics.median(
            overhead_ms(server, load(server, 1, seconds)) for _ in range(rounds)
        )


def measure_soak(requests: int, folder: Path) -> dict:
    """Memory over very many requests of every kind."""
    path = example_models.images(folder)
    with processes.start(
        *processes.CLI, "serve", path, "--port", "0", log=folder / "soak.log"
    ) as server:
        result = soak.soak(server.port, server.process.pid, requests, samples=200)
    return {
        "requests": requests,
        "clients": soak.CLIENTS,
        "statuses": {str(k): v for k, v in result.statuses.items()},
        "memory": result.memory,
    }


def load_seconds() -> float:
    """What loading and trying the model takes, which is not the server's start."""
    begin = time.perf_counter()
    ServedModel(ModelOptions(MODEL, threads=THREADS), Metrics()).batcher.close()
    return time.perf_counter() - begin


def machine() -> dict:
    import onnxruntime

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else "unknown",
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    has_ray = environments.is_made("ray") or environments.required()
    hosts = list(HOSTS) if has_ray else ["embedded"]
    parser.add_argument(
        "--hosts",
        nargs="*",
        choices=HOSTS,
        default=hosts,
        help="default: all; only the embedded one where the environment of Ray is missing, which "
        "FRN_ONNX_REQUIRE_ENVS=1 makes",
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, help="requests of the memory measurement")
    parser.add_argument("--render", action="store_true", help="only write the tables again")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    if not options.render:
        make_model()
        session = bare_session()
        commit = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
        about = {
            "command": " ".join(["python", *sys.argv]),
            "commit": subprocess.run(commit, capture_output=True, text=True).stdout.strip(),
            "machine": machine(),
        }
        with tempfile.TemporaryDirectory() as name:
            for host in options.hosts:
                row = measure(host, session, options.seconds, options.rounds, Path(name))
                if host == "embedded":
                    floor = measure_floor(options.seconds, options.rounds, Path(name))
                    row |= {"load_s": load_seconds(), "floor_ms": floor}
                results["rows"][host] = {**row, **about}
            if options.soak:
                results["soak"] = {**measure_soak(options.soak, Path(name)), **about}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(render(results, ROOT))


if __name__ == "__main__":
    main()
