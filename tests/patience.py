"""How long a test waits for what must come, be the machine ever so slow."""

# Seconds. Only a failing test waits for so long: a wait ends when its state is reached. It is meant
# for a processor ten times slower than usual; no test has a shorter limit of its own.
PATIENCE = 600.0
