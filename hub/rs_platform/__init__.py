"""The local platform: every service of RS-Python on one machine, and the `rs` command."""
