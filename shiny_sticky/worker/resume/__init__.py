"""A session outlives its connection: what carries an app's websocket may be cut, and replaced by another one.

:mod:`.wire` and :mod:`.numbering` are the protocol, which docs/resume.md tells; :mod:`.session` is the websocket
that the app sees; :mod:`.sessions` are those of a worker; :mod:`.middleware` takes connections;
``resume.js`` is the browser's side.
"""
