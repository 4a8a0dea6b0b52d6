"""The rooms of the dashboard, and the questions that acts ask."""
