"""What a notebook shows: tables, plots, and a view that updates while a cell runs."""
