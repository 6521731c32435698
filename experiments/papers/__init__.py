"""Both papers' tables and figures, as experiments that anyone can rerun.

An experiment is a plan of pieces (`plan`), made one after the other by the ordinary commands
(`making`), and a table or figures of what came out (`experiment` and a module for each).
"""
