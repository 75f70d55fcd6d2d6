"""A replica's own health: well, then with every run failing, then well again.

Runs in the environment ``ray``: replica_health.py MODEL.onnx, the model ``linear``.
"""

import asyncio
import sys

import numpy as np

from frn_onnx.serving import health
from frn_onnx.serving.errors import ModelRunError
from frn_onnx.serving.options import Limits, ModelOptions
from frn_onnx.serving.ray_host import ModelReplica

health._RETRY_SECONDS = 0.05


def lost(*_):
    raise RuntimeError("CUDA failure 700")


async def main() -> None:
    own = ModelReplica.func_or_class.__mro__[1]  # without Ray's wrapper, which is for replicas
    replica = own(ModelOptions(sys.argv[1]), Limits())
    (served,) = replica._service.models.values()
    await replica.check_health()
    run, served.batcher._run = served.batcher._run, lost
    for _ in range(3):
        try:
            await served.batcher.submit({"x": np.zeros((1, 4), np.float32)}, ["y"])
        except ModelRunError:
            continue
        raise AssertionError("the run did not fail")
    await asyncio.sleep(0.5)
    try:
        await replica.check_health()
    except RuntimeError as error:
        print(error)
    served.batcher._run = run
    await asyncio.sleep(0.5)
    await replica.check_health()
    print("ok")


asyncio.run(main())
