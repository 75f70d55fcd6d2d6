"""``frn-onnx export``: a Keras model file becomes an ONNX file."""

import argparse

from frn_onnx.cli.arguments import add_form, add_verification


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("export", help="turn a Keras model into an ONNX file")
    parser.add_argument("model", help="a .keras or .h5 file, or a SavedModel folder")
    parser.add_argument("-o", "--output", required=True, help="the ONNX file to write")
    add_form(parser)
    parser.add_argument(
        "--layout",
        choices=("auto", "NCHW", "NHWC"),
        default="auto",
        help="layout of the FRN nodes (default: %(default)s, the fewest Transposes)",
    )
    parser.add_argument("--opset", type=int, default=18, help="ONNX opset (default: %(default)s)")
    add_verification(parser)
    parser.add_argument(
        "--dtype",
        choices=("float16",),
        help="compute in half precision, FRN's statistics in float32 (default: as the model)",
    )
    parser.add_argument("--signature", help="which signature of a SavedModel, if it has several")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import warnings

    from frn_onnx.cli.console import quiet_tensorflow
    from frn_onnx.errors import FrnWarning

    quiet_tensorflow()
    from frn_onnx.export import export_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's
        warnings.simplefilter("default", FrnWarning)
        result = export_model(
            args.model,
            args.output,
            form=args.form,
            layout=args.layout,
            opset=args.opset,
            dtype=args.dtype,
            signature=args.signature,
            verify=args.verify,
            inputs=args.inputs,
        )
    print(result)
    print(f"wrote {args.output} ({args.form}, opset {args.opset})")
    return 0
