"""Log lines: what is in them, who gets none, and a log that nobody reads."""

import json
import logging
import os
import time

import pytest
from serving import example_models, processes

from frn_onnx.errors import ArgumentError
from frn_onnx.serving import log_writer, logs
from frn_onnx.serving.log_writer import BackgroundHandler

X = [[1.0, -2.0, 0.5, 3.0]]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def record(text, **fields):
    made = logging.makeLogRecord({"name": "test", "levelname": "INFO", "msg": text})
    made.fields = fields
    return made


def handler_on(descriptor, **options):
    handler = BackgroundHandler(descriptor, **options)
    handler.setFormatter(logs.JsonFormatter())
    return handler


def read_lines(descriptor):
    os.set_blocking(descriptor, False)
    data, end = b"", time.monotonic() + 5
    while time.monotonic() < end:
        try:
            data += os.read(descriptor, 1 << 20)
            end = min(end, time.monotonic() + 0.5)
        except BlockingIOError:
            time.sleep(0.02)
    return [json.loads(line) for line in data.splitlines()]


def test_a_pipe_that_nobody_reads_costs_lines_and_no_time(pipe):
    reader, writer = pipe
    drops = []
    handler = handler_on(writer, on_drop=lambda: drops.append(1))
    number = 3 * log_writer._KEPT_BYTES // 1000
    begin = time.monotonic()
    for index in range(number):
        handler.emit(record("x" * 1000, index=index))
    assert time.monotonic() - begin < 2
    time.sleep(0.2)
    handler.emit(record("late", index=number))
    assert len(drops) > number // 3
    assert handler._bytes <= log_writer._KEPT_BYTES
    lines = read_lines(reader)
    kept = [line["index"] for line in lines if "index" in line]
    assert kept == sorted(set(kept))
    assert len(kept) + len(drops) == number + 1
    (missing,) = (line for line in lines if "dropped" in line)
    assert (missing["level"], missing["dropped"]) == ("warning", len(drops))
    handler.emit(record("again"))
    assert [line["event"] for line in read_lines(reader)] == ["again"]
    handler.close()


def test_the_last_lines_are_written_at_the_end(pipe):
    reader, writer = pipe
    handler = handler_on(writer)
    for index in range(100):
        handler.emit(record("line", index=index))
    handler.close()
    assert [line["index"] for line in read_lines(reader)] == list(range(100))


def test_the_end_does_not_wait_for_a_reader(pipe):
    _, writer = pipe
    handler = handler_on(writer)
    for _ in range(500):
        handler.emit(record("x" * 1000))
    begin = time.monotonic()
    handler.close()
    assert time.monotonic() - begin < 5


def test_a_closed_pipe_and_odd_texts_are_survived():
    reader, writer = os.pipe()
    drops = []
    handler = handler_on(writer, on_drop=lambda: drops.append(1))
    handler.emit(record("a lone surrogate: \ud800"))
    os.close(reader)
    handler.emit(record("nobody"))
    time.sleep(0.2)
    assert len(drops) == 2
    handler.emit(record("nobody"))
    handler.close()
    os.close(writer)
    assert len(drops) == 3


def test_a_file_has_every_line_at_once(tmp_path):
    path = tmp_path / "log"
    with path.open("wb") as file:
        handler = handler_on(file.fileno())
        for index in range(3):
            handler.emit(record("line", index=index))
            assert json.loads(path.read_text().splitlines()[-1])["index"] == index
        handler.close()


def test_a_non_blocking_descriptor_is_waited_for(pipe):
    reader, writer = pipe
    os.set_blocking(writer, False)
    handler = handler_on(writer)
    for index in range(300):
        handler.emit(record("x" * 1000, index=index))
    time.sleep(0.2)
    assert [line["index"] for line in read_lines(reader)] == list(range(300))
    handler.close()


def start(tmp_path, *options, model="linear"):
    path = getattr(example_models, model)(tmp_path)
    return processes.start(
        *processes.CLI, "serve", path, "--port", "0", *options, log=tmp_path / "log"
    )


def requests_logged(server):
    time.sleep(0.3)
    return [r for r in server.records() if r["event"] == "request"]


def test_an_error_has_its_traceback_in_its_line():
    try:
        raise ValueError("lost")
    except ValueError as error:
        made = logging.makeLogRecord({"msg": "bug", "exc_info": (ValueError, error, None)})
    line = logs.JsonFormatter().format(made)
    assert "\n" not in line
    assert json.loads(line)["traceback"].endswith("ValueError: lost")


def test_an_unknown_level_is_refused():
    with pytest.raises(ArgumentError, match="log_level must be one of debug, info, warning, error"):
        logs.configure("loud")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (
            "debug",
            [
                ("debug", "/v2/health/live"),
                ("debug", "/v2/health/ready"),
                ("debug", "/v2/models/lookup/ready"),
                ("debug", "/metrics"),
                ("info", "/v2/models/lookup"),
                ("info", "/nothing"),
                ("warning", "/v2/models/lookup/infer"),
            ],
        ),
        (
            "info",
            [
                ("info", "/v2/models/lookup"),
                ("info", "/nothing"),
                ("warning", "/v2/models/lookup/infer"),
            ],
        ),
        ("warning", [("warning", "/v2/models/lookup/infer")]),
        ("error", []),
    ],
)
def test_levels(tmp_path, level, expected):
    entry = {"name": "index", "shape": [1], "datatype": "INT64", "data": [99]}
    with start(tmp_path, "--log-level", level, model="lookup") as server:
        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/lookup/ready"):
            assert server.request("GET", path)[0] == 200
        for path in ("/metrics", "/v2/models/lookup", "/nothing"):
            server.request("GET", path)
        body = json.dumps({"inputs": [entry]})
        assert server.request("POST", "/v2/models/lookup/infer", body)[0] == 500
        logged = [(r["level"], r["path"]) for r in requests_logged(server)]
    assert logged == expected


def test_the_trace_of_a_request_is_in_its_line(tmp_path):
    headers = (
        f"00-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}",
        "",
    )
    with start(tmp_path) as server:
        for header in headers:
            server.request("GET", "/v2", headers={"traceparent": header})
        server.request("GET", "/v2")
        traces = [r.get("trace_id") for r in requests_logged(server)]
    assert traces == [TRACE, TRACE, *[None] * 7]


ASYNCIO = """
import logging, sys
from frn_onnx.serving import embedded
from frn_onnx.serving.options import ModelOptions
def ready(url, *_):
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    print(url, flush=True)
embedded.serve(ModelOptions(sys.argv[1]), port=0, on_ready=ready)
"""


def test_what_asyncio_says_is_a_line_too(tmp_path):
    path = example_models.linear(tmp_path)
    with processes.start("-c", ASYNCIO, path, log=tmp_path / "log") as server:
        (line,) = server.records()
    assert (line["logger"], line["level"]) == ("asyncio", "error")
    assert line["event"] == "Task exception was never retrieved"


def test_the_last_request_before_the_end_is_logged(tmp_path):
    with start(tmp_path) as server:
        for index in range(3):
            server.request("GET", f"/{index}")
        server.stop()
        assert [r["path"] for r in requests_logged(server)] == ["/0", "/1", "/2"]


def test_a_stderr_that_nobody_reads_does_not_stop_the_server(tmp_path):
    path = example_models.linear(tmp_path)
    reader, writer = os.pipe()  # never read
    code = f"import os; os.dup2({writer}, 2); {processes.CLI[1]}"
    with processes.start(
        "-c", code, "serve", path, "--port", "0", log=tmp_path / "log", pass_fds=[writer]
    ) as server:
        os.close(writer)
        long_path = "/" + "a" * 4000
        for _ in range(500):
            assert server.request("GET", long_path)[0] == 404
        _, _, text = server.request("GET", "/metrics")
        assert server.infer("linear", X)[0] == 200
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 10
    os.close(reader)
    (drops,) = (s for s in text.decode().splitlines() if s.startswith("frn_onnx_log_drops_total"))
    assert float(drops.split()[1]) > 100
