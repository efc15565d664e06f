"""Waiting for another process or thread: only a hang ends it, never a slow machine."""

import time

HANG = 600  # seconds; nothing that a test does takes a twentieth of it on an idle machine


def wait_until(holds):
    """Look again and again whether `holds()` is true."""
    ends = time.monotonic() + HANG
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError(f"nothing has happened in {HANG} s")
        time.sleep(0.02)
