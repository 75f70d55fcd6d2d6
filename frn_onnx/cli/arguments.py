"""Arguments that several commands have."""

import argparse

FORMS = ("portable", "custom", "primitives")


def add_form(parser: argparse.ArgumentParser) -> None:
    """Which form of file is written."""
    parser.add_argument(
        "--form",
        choices=FORMS,
        default="portable",
        help="portable runs with and without the plugin, custom only with it, primitives holds "
        "standard ops only (default: %(default)s)",
    )


def add_verification(parser: argparse.ArgumentParser) -> None:
    """Whether, and on what, a new model is compared with the old one."""
    parser.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run both models and compare, before anything is written",
    )
    parser.add_argument(
        "--inputs", metavar="FILE.npz", help="what they run on, by input name (default: random)"
    )
