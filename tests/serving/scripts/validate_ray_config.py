"""Reads a YAML with Ray Serve's own schema; prints the applications as JSON.

Runs in the environment ``ray``.
"""

import json
import sys
from pathlib import Path

import yaml
from ray.serve.schema import ServeDeploySchema

config = ServeDeploySchema.model_validate(yaml.safe_load(Path(sys.argv[1]).read_text()))
print(json.dumps(config.model_dump(mode="json", exclude_unset=True)))
