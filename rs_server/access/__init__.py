"""Who may do what: one policy, asked by every service."""
