"""What people read: tables, figures, and one-file HTML pages."""
