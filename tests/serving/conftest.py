"""Models and an in-process client for the serving tests."""

from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import numpy as np
import pytest
from serving import example_models

from frn_onnx.serving.app import build_app
from frn_onnx.serving.metrics import PrometheusMetrics
from frn_onnx.serving.options import Limits, ModelOptions
from frn_onnx.serving.service import ServedModel, Service


class Client:
    """Sends requests to an application in this process, without a socket."""

    def __init__(self, models: list[Path], limits: Limits, **options) -> None:
        self.metrics = PrometheusMetrics()
        self.served = [ServedModel(ModelOptions(path, **options), self.metrics) for path in models]
        self.service = Service(self.served)
        self.app = build_app(self.service, self.metrics, limits)

    def run(self, play: Callable) -> object:
        """What ``await play(http)`` gives, with an httpx.AsyncClient."""

        async def inside():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                return await play(http)

        return anyio.run(inside)

    def request(self, method: str, path: str, **kwargs) -> httpx.Response:
        return self.run(lambda http: http.request(method, path, **kwargs))

    def get(self, path: str, **kwargs) -> httpx.Response:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, **kwargs) -> httpx.Response:
        return self.request("POST", path, **kwargs)


@pytest.fixture
def serve(tmp_path):
    """``serve("linear", "lookup", max_batch=4)``: a client of a server with example models."""
    clients = []

    def make(*names: str, limits: Limits | None = None, **options) -> Client:
        paths = [getattr(example_models, name)(tmp_path) for name in names]
        clients.append(Client(paths, limits or Limits(), **options))
        return clients[-1]

    yield make
    for client in clients:
        client.service.close()


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 4)).astype(np.float32)
