"""Reads config.pbtxt files with Triton's own ModelConfig message; prints each as JSON.

Runs in the environment ``clients``. A field that the message does not have is an error.
"""

import json
import sys
from pathlib import Path

from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

for path in sys.argv[1:]:
    config = text_format.Parse(Path(path).read_text(), ModelConfig())
    print(json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)))
