"""Prepares a data set from a local copy: python -m data.tfds_builders NAME LOCAL_COPY [--data_dir=DIR]."""

import argparse
import sys

from data import tfds_builders


def main():
    """Reads the command line and prepares the data set; after a user's mistake, prints one line and returns 2."""
    parser = argparse.ArgumentParser(prog="python -m data.tfds_builders", description=__doc__.split(":")[0] + ".")
    parser.add_argument("name", help=f"the data set: {', '.join(tfds_builders.names())}")
    parser.add_argument("local_copy", help="the folder with the data set's files")
    parser.add_argument(
        "--data_dir",
        help="the folder in which TFDS data sets lie; default $TFDS_DATA_DIR, else ~/tensorflow_datasets",
    )
    arguments = parser.parse_args()
    try:
        print(tfds_builders.prepare(arguments.name, arguments.local_copy, arguments.data_dir))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
