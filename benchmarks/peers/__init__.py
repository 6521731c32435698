"""PyTorch's side of the benchmarks: the same jobs as a good user of PyTorch writes them.

Only this folder imports torch, which Elicit does not depend on. Start with `peer_table`.
"""
