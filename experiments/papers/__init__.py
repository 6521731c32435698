"""The tables and figures of both papers, as experiments that anyone can repeat.

Each experiment has a module of its own: its settings, its plan and the words of its pages. `engine`
makes the pieces of a plan by the ordinary commands, and writes results and pages.
"""
