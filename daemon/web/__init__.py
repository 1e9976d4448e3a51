"""The status page: a small read-only web server on loopback, in a thread of its own.

`presenter` and `remedies` decide what is shown, `versioned_view` what of it is new to a reader,
`handlers` and `server` send it, and the browser loads ``static/`` through `assets`.
"""
