"""`python -m pgops` is `pgops`."""

from pgops.cli import main

if __name__ == "__main__":
    main()
