"""How well a method does: a script each, which writes records and tables to results."""
