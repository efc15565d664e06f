"""Strategies compared: many seeds of each under one protocol, and a verdict about them."""

from alseg._lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "cluster": ["ClusterError", "connect"],
        "estimate": ["fits_of_job", "steps_of_fit"],
        "jobs": ["Row", "n_threads", "run_job", "slug", "with_steps"],
        "plan": ["Plan", "compare_strategies"],
        "result": ["Comparison", "FILE_NAME", "read_comparison"],
    },
)
