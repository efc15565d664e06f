"""What people read: tables, figures, and one-file HTML pages."""

from alseg._lazy import attach

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "annotation_page": ["write_annotation_report"],
        "comparison_page": ["draw_curves", "write_comparison_report"],
        "figure_files": ["save_figure"],
        "latex": ["comparison_latex"],
        "panels": ["save_panels"],
        "pictures": ["fit_within", "outline", "overlay", "picture_bytes"],
        "plots": [
            "area_intervals",
            "bars",
            "cost_curve",
            "learning_curve",
            "mean_interval",
            "new_axes",
            "paired_differences",
            "penalty_heatmap",
            "styles_of",
        ],
        "question": ["ask_folder", "question_page"],
        "row_table": ["comparison_numbers", "comparison_table", "verdict_text"],
        "run_page": ["run_curve", "write_report"],
        "tables": ["as_markdown", "rounds_table"],
        "tidy": ["tidy_frame", "write_csv"],
    },
)
