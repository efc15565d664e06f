"""Messages between the server and the process behind it: JSON and raw bytes, by two pipes."""

import json
import struct
import threading

_HEAD = struct.Struct("<II")  # lengths of the JSON and of the bytes behind it


class Channel:
    """Sends and gets messages; many threads may send, one gets.

    Nothing that comes in is executed: a message is a JSON object and bytes.

    Parameters
    ----------
    incoming, outgoing : binary files
        Not buffered, or flushed here.

    Examples
    --------
    >>> import io
    >>> pipe = io.BytesIO()
    >>> Channel(None, pipe).send({"kind": "map", "id": 3}, b"pixels")
    >>> _ = pipe.seek(0)
    >>> Channel(pipe, None).get()
    ({'kind': 'map', 'id': 3}, b'pixels')
    """

    def __init__(self, incoming, outgoing):
        self._incoming, self._outgoing = incoming, outgoing
        self._lock = threading.Lock()

    def send(self, message, pixels=b""):
        """Send a message.

        Raises
        ------
        OSError, ValueError
            If nobody is there to get it.
        """
        text = json.dumps(message).encode("ascii")
        with self._lock:
            self._outgoing.write(_HEAD.pack(len(text), len(pixels)) + text)
            if pixels:
                self._outgoing.write(pixels)
            self._outgoing.flush()

    def get(self):
        """The next message and its bytes, waited for; None where none will come."""
        head = self._exactly(_HEAD.size)
        if head is None:
            return None
        n_text, n_pixels = _HEAD.unpack(head)
        text, pixels = self._exactly(n_text), self._exactly(n_pixels)
        return None if text is None or pixels is None else (json.loads(text), pixels)

    def _exactly(self, size):
        parts = []
        while size:
            try:
                part = self._incoming.read(size)
            except (OSError, ValueError):  # the pipe is gone
                part = b""
            if not part:
                return None
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
