"""Scans made at random; all of one from one number.

`drawing.drawn(seed)` returns a scan, `around.run(scan, engine)` runs it, `comparing.assert_is_the_loop(seed)` compares
engines. Operations, layouts and options are tables, so that one more of each is one more line.
"""
