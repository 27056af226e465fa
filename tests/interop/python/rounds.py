"""The protocol between a client and the test that drives it.

For each line on standard input the client makes one round of calls, always with the objects that it
made at the start, and prints `ok` or `error: WHY` on one line.
"""

import sys


def serve(make_round):
    """`make_round` is called for each line; what it raises is the error."""
    for _ in sys.stdin:
        try:
            make_round()
        except Exception as error:
            print("error:", type(error).__name__, " ".join(str(error).split()), flush=True)
        else:
            print("ok", flush=True)


def expect(got, wanted):
    if got != wanted:
        raise ValueError(f"got {got!r} in place of {wanted!r}")
