"""What a learner sees: tables, pictures, and a view that updates while a cell runs."""
