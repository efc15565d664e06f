"""Scripts over real and synthetic data, whose records and tables stand in results.

    python -m benchmarks.studies.glas --help     # how well a method does
    python -m benchmarks.speed.training --help   # how long something takes

core holds what they share. All of them compute at one thread, unless an option says otherwise, and
idle threads do not spin: one would cost a neighbour on the machine tenfold.
"""

import os

# Before numpy and torch are imported, which read them once.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
for _name, _value in ONE_THREAD.items():
    os.environ.setdefault(_name, _value)
