"""How long things take: a script each, which writes a record and checks its limits."""
