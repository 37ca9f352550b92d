"""What a job of staging does in one of its steps, phase by phase."""
