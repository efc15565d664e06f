"""One active-learning experiment: its rounds, their records on disk, and statistics of them."""

from alseg._lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "by_name": ["resolve_strategy"],
        "description": ["describe_data", "described", "described_value"],
        "evaluation": ["ERRORS", "SCORES", "evaluate"],
        "forecasting": ["Backtest", "Forecast", "Gain", "backtest", "forecast", "forecast_gain"],
        "gains": [
            "backtest_rows",
            "efficiency_by_row",
            "foreground_shares",
            "mean_curve",
            "ranks_without_a_seed",
            "saved_by_row",
        ],
        "machine": ["environment", "peak_memory", "peak_memory_mib", "release_memory", "versions"],
        "measures": ["Measure", "told_measures"],
        "protocol": [
            "COSTS",
            "Protocol",
            "check_groups",
            "split",
            "told_groups",
            "without_classes",
        ],
        "records": ["RECORDS_FILE", "Records", "read_records", "same"],
        "rounds": [
            "annotated_part",
            "check_data",
            "device_of",
            "foreground_pixels",
            "run",
            "set_passes",
        ],
        "stopping": ["Agreement", "agreement", "stabilised"],
    },
)
