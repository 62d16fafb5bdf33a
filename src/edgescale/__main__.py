"""`python -m edgescale` is the `edgescale` command."""

from edgescale.cli import main

if __name__ == "__main__":
    main()
