"""What the scripts have in common that try this project on other machines."""

from environments import required


def cannot(reason: str) -> int:
    """Says why there is no such machine, and gives the exit code: in CI that is a failure."""
    print(f"{'FAILED' if required() else 'SKIPPED'}: {reason}")
    return int(required())
