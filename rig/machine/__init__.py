"""This machine: processes that are started and surely ended, ports, how much CPU may be used."""
