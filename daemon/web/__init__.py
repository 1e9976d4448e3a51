"""The status page: a small web server on loopback, in a thread of its own, that only reads.

``view`` and ``remedies`` say what is shown, ``board`` what of it is new to a reader, ``pages`` and
``server`` hand it out, ``static/`` is what the browser loads.
"""
