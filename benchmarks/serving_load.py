"""A closed loop of tritonclient[http] clients; runs in an environment that has it.

    serving_load.py HOST:PORT MODEL INPUT SHAPE CLIENTS SECONDS binary|json

Prints one JSON object: requests, seconds, failed, and each request's id and milliseconds, from
handing the array over to having the output's.
"""

import json
import sys
import threading
import time

import numpy as np
import tritonclient.http as triton

address, model, name, shape, clients, seconds, kind = sys.argv[1:]
shape, seconds = json.loads(shape), float(seconds)
x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
taken: list[tuple[str, float]] = []
failed: list[str] = []


def client(number: int) -> None:
    connection = triton.InferenceServerClient(address, network_timeout=120)
    output = connection.get_model_metadata(model)["outputs"][0]["name"]
    wanted = [triton.InferRequestedOutput(output, binary_data=kind == "binary")]
    end = time.perf_counter() + seconds
    count = 0
    while time.perf_counter() < end:
        identity = f"{number}-{count}"
        count += 1
        start = time.perf_counter()
        try:
            tensor = triton.InferInput(name, shape, "FP32")
            tensor.set_data_from_numpy(x, binary_data=kind == "binary")
            result = connection.infer(model, [tensor], outputs=wanted, request_id=identity)
            result.as_numpy(output)
        except Exception as error:
            failed.append(str(error))
            continue
        taken.append((identity, (time.perf_counter() - start) * 1e3))


threads = [threading.Thread(target=client, args=(number,)) for number in range(int(clients))]
begin = time.perf_counter()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(
    json.dumps(
        {
            "requests": len(taken),
            "seconds": time.perf_counter() - begin,
            "failed": failed,
            "taken": taken,
        }
    )
)
