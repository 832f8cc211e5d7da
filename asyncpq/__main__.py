"""``python -m asyncpq`` is the command ``asyncpq``."""

from asyncpq.cli import main

if __name__ == "__main__":
    main()
