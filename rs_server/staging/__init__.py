"""The process `staging`: station → object storage → catalog."""
