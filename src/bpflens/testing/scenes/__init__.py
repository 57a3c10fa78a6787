"""Scenes: small worlds on the engine, for a first look, for tests and for classes.

A scene is a function `scene()` that builds an `Engine` and returns the `Task` that looks at it.
`--on engine:demo` is `demo.py` here; `--on engine:FILE.py` is one of your own.
"""
