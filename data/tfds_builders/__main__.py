"""Prepares a data set from a local copy: python -m data.tfds_builders NAME LOCAL_COPY [--data_dir=DIR]."""

import argparse
import sys

from data import tfds_builders


def main():
    """Reads the command line and prepares; a user's mistake ends with one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m data.tfds_builders", description=__doc__.split(":")[0] + ".")
    parser.add_argument("name", help=", ".join(tfds_builders.names()))
    parser.add_argument("local_copy", help="the folder with its files")
    parser.add_argument(
        "--data_dir",
        help="where TFDS data sets lie; default $TFDS_DATA_DIR, else ~/tensorflow_datasets",
    )
    given = parser.parse_args()
    try:
        print(tfds_builders.prepare(given.name, given.local_copy, given.data_dir))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
