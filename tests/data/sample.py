"""Makes the sample beside it from the whole loan log: `python tests/data/sample.py LOG.ndjson.gz`."""

import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

SAMPLE = Path(__file__).with_name("loan-applications-sample.ndjson.gz")
DIGITS = "0"


def sampled(log: Path) -> Iterator[bytes]:
    """The lines, in the order of the file, of the flows whose hash begins with these digits: a sixteenth of all."""
    with gzip.open(log) as lines:
        for line in lines:
            flow = json.loads(line)["correlationId"]
            if hashlib.sha256(flow.encode()).hexdigest().startswith(DIGITS):
                yield line


if __name__ == "__main__":
    SAMPLE.write_bytes(gzip.compress(b"".join(sampled(Path(sys.argv[1]))), 9, mtime=0))
